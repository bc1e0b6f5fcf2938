//! Standard output, the only place that is written to but the log.

use std::io::Write;

use crate::failure::Failure;

/// Writes text to standard output, at once.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        // Whoever read it has read enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::failed(format!("can't write: {error}"))),
    }
}

/// Writes a line to standard error.
pub(crate) fn complain(text: &str) {
    // Where there is nobody to tell there is nothing to do.
    let _nobody = writeln!(std::io::stderr().lock(), "{text}");
}
