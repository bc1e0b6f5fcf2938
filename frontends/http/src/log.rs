//! The log: one line for each request, and how lines are written.
//!
//! **Promises.** Each request leaves exactly one line when its response is out or given up, with the
//! event's target `strongroom::access`. What comes from outside is written with its control
//! characters escaped and cut to a bound, so that no request can forge a line or drive a terminal.
//!
//! **Never.** It writes a header's value, a query (it may carry a secret), or a body.

mod human;
mod lines;
mod time;

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::context::RequestContext;
use crate::pipeline::Record;

/// How much is written of one value that comes from outside.
const MAX_VALUE: usize = 1_024;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people; in colour on a terminal.
    #[default]
    Human,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The filter can't be read. Write it like `info,strongroom=debug`.
    #[error(
        "the log filter {filter:?} can't be read: {source}; write it like `info,strongroom=debug`"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The system has no thread for it.
    #[error("no thread to write the log")]
    Thread(#[from] std::io::Error),
    /// The process has a log already.
    #[error("the log was set up twice")]
    Twice(#[from] TryInitError),
}

/// The log of the process. Dropping it writes what waits.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct Log(#[expect(dead_code, reason = "its drop is its use")] lines::Writing);

/// Sets up the log of the process, on standard error, with a filter like `info,strongroom=debug`.
///
/// Lines are written by a thread of their own, so that no request waits for the terminal or pipe; a
/// kill loses those that wait. None is dropped for want of room.
pub fn init(format: Format, filter: &str) -> Result<Log, LogError> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let registry = tracing_subscriber::registry().with(filter);
    let (writer, writing) = lines::start(std::io::stderr())?;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_timer(time::Time);
    match format {
        Format::Json => {
            registry.with(lines.json().flatten_event(true).with_span_list(false)).try_init()?;
        }
        Format::Human => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry.with(lines.with_ansi(colour).event_format(human::Human)).try_init()?;
        }
    }
    Ok(Log(writing))
}

/// `value` as it may stand in a log: control characters, and what changes the direction or the
/// place of text, escaped; cut to a bound.
pub fn clean(value: &str) -> Cow<'_, str> {
    let plain = |b: u8| matches!(b, b' '..=b'~');
    if value.len() <= MAX_VALUE && value.bytes().all(plain) {
        return Cow::Borrowed(value);
    }
    let fits = |c: char| !c.is_control() && !is_format(c);
    if value.len() <= MAX_VALUE && value.chars().all(fits) {
        return Cow::Borrowed(value);
    }
    let mut clean = String::new();
    for c in value.chars() {
        if clean.len() >= MAX_VALUE {
            clean.push('…');
            break;
        }
        if fits(c) {
            clean.push(c);
        } else {
            let _infallible = write!(clean, "{}", c.escape_default());
        }
    }
    Cow::Owned(clean)
}

/// Line and paragraph separators, zero-width characters, and the marks that turn text around.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// An error with its causes, on one clean line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    clean(&text).into_owned()
}

pub(crate) fn request(record: &Record, took: Duration) {
    let context = &record.context;
    tracing::info!(
        target: "strongroom::access",
        request_id = context.id().as_str(),
        method = &*clean(record.method.as_str()),
        path = &*clean(&record.path),
        route = context.route(),
        status = record.status(),
        bytes_in = context.bytes_in(),
        bytes_out = record.bytes_out,
        duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        principal = context.principal().map(clean).as_deref(),
        client = %context.origin().client(),
        whole = record.whole,
        "request"
    );
}

pub(crate) fn panicked(context: &RequestContext, message: &str) {
    tracing::error!(
        request_id = context.id().as_str(),
        panic = &*clean(message),
        "a handler panicked"
    );
}

pub(crate) fn body_failed(context: &RequestContext, error: &(dyn Error + 'static)) {
    let error = chain(error);
    tracing::warn!(request_id = context.id().as_str(), error, "the body of a response broke off");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_c16_no_value_can_break_a_line_or_drive_a_terminal() {
        let forged = clean("a\r\nINFO forged\u{1b}[2J\u{9b}31m\u{2028}\u{202e}\0");
        let written = "a\\r\\nINFO forged\\u{1b}[2J\\u{9b}31m\\u{2028}\\u{202e}\\u{0}";
        assert_eq!(forged, written);
    }

    #[test]
    fn plain_text_stays_as_it_is_and_long_text_is_cut() {
        assert!(matches!(clean("/v2/a/b/c/manifests/ü"), Cow::Borrowed(_)));
        let cut = clean(&"ü".repeat(MAX_VALUE)).into_owned();
        assert!(cut.len() < MAX_VALUE + 10 && cut.ends_with('…'));
    }

    #[test]
    fn an_error_tells_its_causes_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("could not read")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("disk\nfull"));
        assert_eq!(chain(&error), "could not read: disk\\nfull");
    }

    #[test]
    fn a_filter_that_cannot_be_read_says_how_one_looks() {
        let error = init(Format::Human, "strongroom=loud").unwrap_err().to_string();
        assert!(error.contains("strongroom=loud") && error.contains("strongroom=debug"), "{error}");
    }
}
