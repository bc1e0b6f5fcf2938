//! The time of a line, as tracing's own writes it; but what is before the fraction is worked out once a second.

use std::cell::RefCell;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// A second since the epoch, and its text without a fraction.
type Second = (u64, String);

thread_local! {
    static LAST: RefCell<Second> = const { RefCell::new((0, String::new())) };
}

/// RFC 3339 in UTC, with microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time;

impl FormatTime for Time {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        let Some(now) = now() else { return SystemTime.format_time(line) };
        LAST.with_borrow_mut(|last| {
            if last.0 != now.as_secs() || last.1.is_empty() {
                match second()? {
                    Some(second) if second.0 == now.as_secs() => *last = second,
                    _ => return SystemTime.format_time(line),
                }
            }
            line.write_str(&last.1)?;
            line.write_str(std::str::from_utf8(&fraction(now)).unwrap_or_default())
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a line says when it was written, not what was decided"
)]
fn now() -> Option<Duration> {
    std::time::SystemTime::now().duration_since(UNIX_EPOCH).ok()
}

/// This second; none where the next one began meanwhile.
fn second() -> Result<Option<Second>, fmt::Error> {
    let before = now();
    let mut text = String::new();
    SystemTime.format_time(&mut Writer::new(&mut text))?;
    let same = before.zip(now()).filter(|(before, after)| before.as_secs() == after.as_secs());
    let whole = text.find('.').unwrap_or_default();
    text.truncate(whole);
    Ok(same.map(|(now, _)| (now.as_secs(), text)))
}

/// `.123456Z`
fn fraction(time: Duration) -> [u8; 8] {
    let (mut text, mut left) = (*b".000000Z", time.subsec_micros());
    for digit in text.iter_mut().take(7).skip(1).rev() {
        *digit = b'0' + u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(by: impl FormatTime) -> String {
        let mut text = String::new();
        by.format_time(&mut Writer::new(&mut text)).unwrap();
        text
    }

    #[test]
    fn it_is_what_tracing_would_write() {
        for _ in 0..1_000 {
            // One of fixed width lies between two others in the order of time just where it does as text.
            let (before, ours, after) = (told(SystemTime), told(Time), told(SystemTime));
            assert_eq!(ours.len(), before.len());
            assert!(before <= ours && ours <= after, "{before} {ours} {after}");
        }
    }

    #[test]
    fn another_second_is_another_text() {
        let first = told(Time);
        LAST.with_borrow_mut(|last| *last = (last.0 - 1, "1970-01-01T00:00:00".to_owned()));
        let second = told(Time);
        assert!(second >= first, "{first} {second}");
    }

    #[test]
    fn the_fraction_has_six_digits() {
        assert_eq!(&fraction(Duration::from_micros(7_000_042)), b".000042Z");
        assert_eq!(&fraction(Duration::from_nanos(999_999_999)), b".999999Z");
    }
}
