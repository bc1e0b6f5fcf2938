//! Standard output, the only place that is written to but the log.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use strongroom_engine::gc::Progress;

use crate::failure::Failure;
use crate::ops::{Part, size};

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

/// How far something is, on standard error, where that is a terminal and nobody wants JSON: a bar where
/// it is known how much there is, and else what was done so far.
#[derive(Debug)]
pub(crate) struct Bar(Option<ProgressBar>);

const UNMEASURED: &str = "{spinner} {msg} [{elapsed}]";
const MEASURED: &str = "{spinner} [{bar:24}] {percent:>3}% {msg} [{elapsed}, about {eta} left]";

impl Bar {
    pub(crate) fn new(json: bool) -> Self {
        let shown = !json && std::io::stderr().is_terminal();
        if shown { Self::over(ProgressBar::new_spinner()) } else { Self(None) }
    }

    fn over(bar: ProgressBar) -> Self {
        bar.unset_length();
        style(&bar, UNMEASURED);
        Self(Some(bar))
    }

    /// The same for what the engine tells.
    pub(crate) fn watch(&self, progress: &Progress) {
        let part = progress.extent.map(Part::from);
        self.show(progress.phase, progress.done, progress.bytes, part);
    }

    /// Shows what is done now, how much of it is, and what part of all that is.
    pub(crate) fn show(&self, phase: &str, done: u64, bytes: u64, part: Option<Part>) {
        let Some(bar) = &self.0 else { return };
        let bytes = if bytes == 0 { String::new() } else { format!(", {}", size(bytes)) };
        bar.set_message(format!("{phase}: {done}{bytes}"));
        match part {
            Some(Part { done, total }) if bar.length() == Some(total) && bar.position() <= done => {
                bar.set_position(done);
            }
            Some(Part { done, total }) => {
                bar.set_length(total);
                bar.set_position(done);
                style(bar, MEASURED);
                bar.tick();
                // What lies before was not done in this time.
                bar.reset_eta();
            }
            None if bar.length().is_some() => {
                bar.unset_length();
                style(bar, UNMEASURED);
            }
            None => {}
        }
        bar.tick();
    }

    /// Takes it off the screen.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bar that nobody sees.
    fn hidden() -> (Bar, ProgressBar) {
        let bar = ProgressBar::hidden();
        (Bar::over(bar.clone()), bar)
    }

    #[test]
    fn what_is_measured_is_a_bar_and_what_is_not_a_count() {
        let (shown, bar) = hidden();
        let part = |done, total| Some(Part { done, total });
        shown.show("retention", 7, 0, None);
        assert_eq!((bar.length(), bar.message().as_str()), (None, "retention: 7"));
        shown.show("content", 10, 2048, part(25, 100));
        assert_eq!((bar.length(), bar.position()), (Some(100), 25));
        assert_eq!(bar.message(), "content: 10, 2.0 KiB");
        shown.show("content", 11, 2048, part(50, 100));
        assert_eq!((bar.length(), bar.position()), (Some(100), 50));
        // Another phase, with less before it; and one that nobody measured.
        shown.show("objects", 1, 0, part(1, 100));
        assert_eq!((bar.length(), bar.position()), (Some(100), 1));
        shown.show("objects", 1, 0, part(3, 5));
        assert_eq!((bar.length(), bar.position()), (Some(5), 3));
        shown.show("manifests", 2, 0, None);
        assert_eq!(bar.length(), None);
    }

    #[test]
    fn both_templates_are_ones() {
        for template in [UNMEASURED, MEASURED] {
            ProgressStyle::with_template(template).unwrap();
        }
    }

    #[test]
    fn nothing_is_shown_to_who_wants_json() {
        assert!(Bar::new(true).0.is_none());
    }
}
