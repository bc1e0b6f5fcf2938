//! How large parts are: 10,000 of them must hold 5 TiB, and small objects want small parts.
//!
//! Only numbers count: up to [`FREE`] a part may be as small as S3 allows, so that each checkpoint
//! can end one; from there on the least size grows by [`STEP`] with each number. So a number that
//! was skipped costs what a part of it would have held, and sizes never have to be planned. Parts that
//! nothing forces out early are larger, and the more so the further an object has come.

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
/// Up to this number parts are made as large as was asked for …
const FIRST: u16 = 64;
/// … and behind it so many times as large. Some services take a while for each part when they make
/// the object of them (MinIO about 0.35 ms), while the client of a push waits. An upload holds no
/// more memory by it: the engine bounds in bytes what is under way.
const LATER: u64 = 2;

/// The least bytes that the part `number` may have, unless it is the last.
pub(crate) fn least(number: u16) -> u64 {
    LEAST.max(u64::from(number.saturating_sub(FREE)) * STEP)
}

/// How large the part `number` is made where nothing forces it out earlier.
pub(crate) fn target(number: u16, part_bytes: u64) -> u64 {
    let times = if number <= FIRST { 1 } else { LATER };
    part_bytes.saturating_mul(times).max(least(number)).min(MOST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::options::S3Options;
    use crate::pool::Pool;

    const FIVE_TIB: u64 = 5 << 40;
    /// The most that a part has above its target: a batch of the engine's.
    const BATCH: u64 = 2 << 20;

    #[test]
    fn ten_thousand_of_the_least_parts_hold_five_tebibytes() {
        let held: u64 = (1..=NUMBERS).map(least).sum();
        assert!(held >= FIVE_TIB, "{held}");
        assert!(least(NUMBERS) <= MOST);
        assert_eq!((least(1), least(FREE)), (LEAST, LEAST));
    }

    #[test]
    fn six_gibibytes_are_few_enough_parts_to_make_an_object_of_in_a_tenth_of_a_second() {
        let part_bytes = S3Options::new("room").part_bytes;
        let mut held = 0;
        let parts = (1..).take_while(|number| {
            let is_needed = held < 6 << 30;
            held += target(*number, part_bytes);
            is_needed
        });
        // At 0.35 ms each a fifth is left for all else that the last request does.
        assert_eq!(parts.count(), 224);
        // What is smaller is in parts as small as asked for, so that several are under way at once.
        assert_eq!(target(FIRST, part_bytes), part_bytes);
    }

    #[test]
    fn by_default_a_part_that_grew_waits_in_memory() {
        let options = S3Options::new("room");
        let pool = Pool::new(options.pool_bytes, options.spool_bytes, std::env::temp_dir());
        let part = target(FREE, options.part_bytes);
        assert_eq!(part, LATER * options.part_bytes);
        assert!(!pool.is_large(part + BATCH));
    }

    proptest! {
        #[test]
        fn parts_grow_with_their_numbers_and_never_past_what_s3_takes(
            number in 1..NUMBERS,
            part_bytes in LEAST..=MOST,
        ) {
            prop_assert!(least(number) <= least(number + 1));
            let (target, next) = (target(number, part_bytes), target(number + 1, part_bytes));
            prop_assert!(target >= least(number) && target >= part_bytes.min(MOST));
            prop_assert!(target <= next && next <= MOST);
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
