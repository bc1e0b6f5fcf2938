//! How large parts are: 10,000 of them must hold 5 TiB, and small objects want small parts.
//!
//! Only numbers count: up to [`FREE`] a part may be as small as S3 allows, so that each checkpoint
//! can end one; from there on the least size grows by [`STEP`] with each number. So a number that
//! was skipped costs what a part of it would have held, and sizes never have to be planned.

/// The least that S3 takes as a part, the last one excepted.
pub(crate) const LEAST: u64 = 5 << 20;
/// The most that S3 takes as a part, or copies in one call.
pub(crate) const MOST: u64 = 5 << 30;
/// The highest number of a part.
pub(crate) const NUMBERS: u16 = 10_000;
/// Up to this number any part of at least [`LEAST`] will do.
const FREE: u16 = 2_000;
/// How much larger the least part is with each number past [`FREE`].
const STEP: u64 = 192 << 10;

/// The least bytes that the part `number` may have, unless it is the last.
pub(crate) fn least(number: u16) -> u64 {
    LEAST.max(u64::from(number.saturating_sub(FREE)) * STEP)
}

/// How large the part `number` is made where nothing forces it out earlier.
pub(crate) fn target(number: u16, part_bytes: u64) -> u64 {
    part_bytes.max(least(number)).min(MOST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIVE_TIB: u64 = 5 << 40;

    #[test]
    fn ten_thousand_of_the_least_parts_hold_five_tebibytes() {
        let held: u64 = (1..=NUMBERS).map(least).sum();
        assert!(held >= FIVE_TIB, "{held}");
        assert!(least(NUMBERS) <= MOST);
        assert_eq!((least(1), least(FREE)), (LEAST, LEAST));
    }

    proptest! {
        #[test]
        fn parts_grow_with_their_numbers_and_never_past_what_s3_takes(
            number in 1..NUMBERS,
            part_bytes in LEAST..=MOST,
        ) {
            prop_assert!(least(number) <= least(number + 1));
            let target = target(number, part_bytes);
            prop_assert!(target >= least(number) && target >= part_bytes.min(MOST));
            prop_assert!(target <= MOST);
        }

        #[test]
        fn whatever_is_forced_out_early_five_tebibytes_fit(
            forced in proptest::collection::vec(any::<bool>(), usize::from(NUMBERS)),
            skipped in 0..200_u16,
        ) {
            // A few writers that died early each left a window of numbers.
            let mut held = 0;
            for (number, forced) in (1 + skipped..=NUMBERS).zip(forced) {
                held += if forced { least(number) } else { target(number, 16 << 20) };
            }
            prop_assert!(held >= FIVE_TIB);
        }
    }
}
