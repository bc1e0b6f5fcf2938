//! A line of the log for people: when, how grave, who says it, what, and its values.
//!
//! As tracing's own, but that a value is looked through once and then written as it is where nothing of
//! it must be escaped: there is a line for each request, and formatting it was a tenth of the small ones.

use std::fmt::{self, Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::time::Time;

/// The field that is what is said, and has no name in the line.
const MESSAGE: &str = "message";

/// Room for what most lines say.
const TYPICAL: usize = 512;

/// Writes events as such lines; in colour where the writer takes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Human;

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let colour = line.has_ansi_escapes();
        let (level, target) = (event.metadata().level(), event.metadata().target());
        if colour {
            line.write_str("\u{1b}[2m")?;
        }
        Time.format_time(&mut line)?;
        let (paint, name) = painted(*level);
        if colour {
            write!(line, "\u{1b}[0m {paint}{name}\u{1b}[0m \u{1b}[2m{target}:\u{1b}[0m")?;
        } else {
            for part in [" ", name, " ", target, ":"] {
                line.write_str(part)?;
            }
        }
        let mut said = Said(String::with_capacity(TYPICAL));
        event.record(&mut said);
        said.0.push('\n');
        line.write_str(&said.0)
    }
}

/// The colour of a level, and its name, all as wide.
fn painted(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::ERROR => ("\u{1b}[31m", "ERROR"),
        Level::WARN => ("\u{1b}[33m", " WARN"),
        Level::INFO => ("\u{1b}[32m", " INFO"),
        Level::DEBUG => ("\u{1b}[34m", "DEBUG"),
        Level::TRACE => ("\u{1b}[35m", "TRACE"),
    }
}

/// What an event says, then its values: put together here and written at once, which costs less than to
/// write each part.
struct Said(String);

impl Said {
    fn name(&mut self, field: &Field) {
        let name = field.name().strip_prefix("r#").unwrap_or(field.name());
        for part in [" ", name, "="] {
            self.0.push_str(part);
        }
    }

    /// What is said, which tracing's macros put before the values.
    fn say(&mut self, message: impl fmt::Display) {
        let _infallible = write!(self.0, " {message}");
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            return self.say(value);
        }
        self.name(field);
        // What `Debug` leaves as it is.
        let plain = |b: u8| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\';
        if value.bytes().all(plain) {
            for part in ["\"", value, "\""] {
                self.0.push_str(part);
            }
        } else {
            let _infallible = write!(self.0, "{value:?}");
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        let _infallible = write!(self.0, "{value}");
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        self.0.push_str(if value { "true" } else { "false" });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == MESSAGE {
            return self.say(format_args!("{value:?}"));
        }
        self.name(field);
        // To a string fails only what itself has an error to show; the line is written all the same.
        let _shown = write!(self.0, "{value:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// What is logged in `act`, past the time at the head of each line.
    fn logged(colour: bool, act: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(line);
                Ok(line.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .with_ansi(colour)
            .event_format(Human);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), act);
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        written.lines().map(|line| line.split_once('Z').unwrap().1.to_owned() + "\n").collect()
    }

    #[test]
    fn a_line_says_what_then_its_values_by_name() {
        let line = logged(false, || {
            tracing::warn!(target: "here", a = "b c", many = 3, sure = true, of = ?Some(1), "said");
        });
        assert_eq!(line, "  WARN here: said a=\"b c\" many=3 sure=true of=Some(1)\n");
    }

    #[test]
    fn threat_c16_a_value_stays_within_its_quotes_and_its_line() {
        let line =
            logged(false, || tracing::info!(target: "here", a = "\" b=\"\\\n\u{1b}[2J", "said"));
        assert_eq!(line, "  INFO here: said a=\"\\\" b=\\\"\\\\\\n\\u{1b}[2J\"\n");
    }

    #[test]
    fn a_terminal_sees_colours() {
        let line = logged(true, || tracing::error!(target: "here", "said"));
        assert_eq!(line, "\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m \u{1b}[2mhere:\u{1b}[0m said\n");
    }
}
