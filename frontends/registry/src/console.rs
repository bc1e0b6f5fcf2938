//! Standard output, the only place that is written to but the log.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::Failure;
use crate::ops::size;

/// Writes text to standard output, at once.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    match write(text) {
        // Whoever read it has read enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::failed(format!("can't write: {error}"))),
    }
}

/// The same for what is shown this once: it fails also where nobody reads any more.
pub(crate) fn show_once(text: &str) -> Result<(), Failure> {
    write(text).map_err(|error| {
        Failure::failed(format!("can't show what is shown only once, so it is not done: {error}"))
    })
}

fn write(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Writes a line to standard error.
pub(crate) fn complain(text: &str) {
    // Where there is nobody to tell there is nothing to do.
    let _nobody = writeln!(std::io::stderr().lock(), "{text}");
}

/// How far something is, on standard error, where that is a terminal and nobody wants JSON.
#[derive(Debug)]
pub(crate) struct Bar(Option<ProgressBar>);

impl Bar {
    pub(crate) fn new(json: bool) -> Self {
        let shown = !json && std::io::stderr().is_terminal();
        let style = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]");
        Self(shown.then(|| match style {
            Ok(style) => ProgressBar::new_spinner().with_style(style),
            Err(_) => ProgressBar::new_spinner(),
        }))
    }

    /// Shows what is done now, and how much of it is.
    pub(crate) fn show(&self, phase: &str, done: u64, bytes: u64) {
        if let Some(bar) = &self.0 {
            let bytes = if bytes == 0 { String::new() } else { format!(", {}", size(bytes)) };
            bar.set_message(format!("{phase}: {done}{bytes}"));
            bar.tick();
        }
    }

    /// Takes it off the screen.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
