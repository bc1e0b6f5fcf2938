//! When a hook that failed is tried again.

use std::time::Duration;

use strongroom_engine::seam::Seams;

use crate::settings::Settings;

/// The wait after so many failures on end: it doubles up to a bound, and half of it is chance, so that
/// hooks that failed together do not come back together. What the receiver asked for counts, where
/// it is longer and within the bound.
pub(crate) fn wait(
    settings: &Settings,
    seams: &Seams,
    failures: u32,
    asked: Option<Duration>,
) -> Duration {
    let doublings = failures.saturating_sub(1).min(30);
    let full = settings.back_off.saturating_mul(1 << doublings).min(settings.max_back_off);
    let half = full / 2;
    // In thousandths of the half.
    let part = u32::try_from(seams.random_u64() % 1000).unwrap_or_default();
    let wait = half + half / 1000 * part;
    asked.map_or(wait, |asked| wait.max(asked.min(settings.max_back_off)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_differ() {
        let (settings, seams) = (Settings::default(), Seams::default());
        for (failures, full) in
            [(1, 5), (2, 10), (3, 20), (10, 2560), (11, 3600), (4_000_000, 3600)]
        {
            let full = Duration::from_secs(full);
            let waits: Vec<_> = (0..50).map(|_| wait(&settings, &seams, failures, None)).collect();
            assert!(waits.iter().all(|wait| *wait >= full / 2 && *wait <= full), "{failures}");
            assert!(waits.iter().any(|wait| *wait != waits[0]), "{failures}");
        }
    }

    #[test]
    fn a_receiver_may_ask_for_more_but_not_without_end() {
        let (settings, seams) = (Settings::default(), Seams::default());
        let hour = Duration::from_hours(1);
        assert_eq!(wait(&settings, &seams, 1, Some(hour / 2)), hour / 2);
        assert_eq!(wait(&settings, &seams, 1, Some(hour * 99)), hour);
        assert!(wait(&settings, &seams, 1, Some(Duration::ZERO)) >= Duration::from_millis(2500));
    }
}
