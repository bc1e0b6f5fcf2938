//! A password from whoever sits there.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use strongroom_http::auth::Secret;

use crate::failure::Failure;

/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 4_096;

/// Shows again what is typed, whatever ends the reading.
struct Hushed<'a>(&'a File, Termios);

impl<'a> Hushed<'a> {
    fn new(terminal: &'a File) -> Result<Self, rustix::io::Errno> {
        let was = tcgetattr(terminal)?;
        let mut hushed = was.clone();
        hushed.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &hushed)?;
        Ok(Self(terminal, was))
    }
}

impl Drop for Hushed<'_> {
    fn drop(&mut self) {
        // Nobody is there to be told where the terminal is gone.
        let _gone = tcsetattr(self.0, OptionalActions::Flush, &self.1);
    }
}

/// Reads a password: from the terminal, unseen, where standard input is one; else its first line.
pub(super) fn password(prompt: &str) -> Result<Secret, Failure> {
    let failed =
        |error: std::io::Error| Failure::usage(format!("no password could be read: {error}"));
    let line = if std::io::stdin().is_terminal() {
        let terminal =
            OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(failed)?;
        (&terminal).write_all(prompt.as_bytes()).map_err(failed)?;
        let hushed = Hushed::new(&terminal).map_err(|errno| failed(errno.into()))?;
        let mut line = String::new();
        let read = BufReader::new((&terminal).take(MAX_LINE)).read_line(&mut line);
        drop(hushed);
        (&terminal).write_all(b"\n").map_err(failed)?;
        read.map_err(failed)?;
        line
    } else {
        let mut line = String::new();
        std::io::stdin().lock().take(MAX_LINE).read_line(&mut line).map_err(failed)?;
        line
    };
    let line = line.trim_end_matches(['\n', '\r']);
    if line.is_empty() {
        return Err(Failure::usage("there is no password on standard input"));
    }
    Ok(Secret::new(line))
}
