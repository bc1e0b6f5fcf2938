//! Lines on their way out: gathered in memory, and written together by a thread of their own.
//!
//! Handing each line over by itself costs a request more than the line: the thread is woken for it and
//! writes it by a call of its own. Here only the first of some that come together wakes it, and all
//! are one call. No line is dropped: where too many wait, whoever has another one waits too.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How long a line waits for others to be written with.
const GATHER: Duration = Duration::from_millis(2);
/// So many bytes are not waited with any longer.
const ENOUGH: usize = 64 * 1024;
/// How many bytes may wait before whoever writes more waits too.
const MAX_WAITING: usize = 1024 * 1024;

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something waits, or enough, or the end has come.
    more: Condvar,
    /// What waited was taken.
    room: Condvar,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what waits into `batch`, which is empty; false where nothing will any more.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && !waiting.ended;
        let waiting = self.more.wait_while(self.waiting(), idle);
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let few = |waiting: &mut Waiting| waiting.bytes.len() < ENOUGH && !waiting.ended;
        let gathered = self.more.wait_timeout_while(waiting, GATHER, few);
        let (mut waiting, _late) = gathered.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(batch, &mut waiting.bytes);
        drop(waiting);
        self.room.notify_all();
        !batch.is_empty()
    }
}

/// Where lines are put.
#[derive(Debug, Clone)]
pub(super) struct Lines(Arc<Shared>);

/// The thread that writes them. Dropping it waits until all are written.
#[derive(Debug)]
pub(super) struct Writing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread.
pub(super) fn start(mut out: impl Write + Send + 'static) -> io::Result<(Lines, Writing)> {
    let shared = Arc::new(Shared::default());
    let from = Arc::clone(&shared);
    let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        let mut batch = Vec::new();
        while from.take(&mut batch) {
            // Where nobody takes them there is nobody to tell either.
            let _written = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();
            batch.shrink_to(ENOUGH);
        }
    })?;
    let writing = Writing { shared: Arc::clone(&shared), thread: Some(thread) };
    Ok((Lines(shared), writing))
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.shared.waiting().ended = true;
        self.shared.more.notify_one();
        if let Some(thread) = self.thread.take() {
            // It panics nowhere; and if it did, the log is over.
            let _ended = thread.join();
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let full = |waiting: &mut Waiting| waiting.bytes.len() >= MAX_WAITING && !waiting.ended;
        let waiting = self.0.room.wait_while(self.0.waiting(), full);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let before = waiting.bytes.len();
        waiting.bytes.extend_from_slice(line);
        let after = waiting.bytes.len();
        drop(waiting);
        if before == 0 || (before < ENOUGH && after >= ENOUGH) {
            self.0.more.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Counts what it is given, and waits with each until it is let.
    struct Slow {
        go: mpsc::Receiver<()>,
        calls: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ended = self.go.recv();
            self.calls.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_once_whole_and_few_calls_write_many() {
        let (let_go, go) = mpsc::channel();
        let calls = Arc::default();
        let (lines, writing) = start(Slow { go, calls: Arc::clone(&calls) }).unwrap();
        // More than may wait: those who write them wait for the slow one.
        let line =
            |writer: usize, number: usize| format!("{writer} {number} {}\n", "x".repeat(500));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let mut lines = lines.clone();
                std::thread::spawn(move || {
                    for number in 0..2_000 {
                        lines.write_all(line(writer, number).as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        // From here on it writes as fast as it can.
        drop(let_go);
        for writer in writers {
            writer.join().unwrap();
        }
        drop(writing);
        let calls = calls.lock().unwrap();
        assert!(calls.len() < 1_000, "{} calls", calls.len());
        assert!(calls.iter().all(|call| call.len() < 2 * MAX_WAITING));
        let text = String::from_utf8(calls.concat()).unwrap();
        for writer in 0..4 {
            let own = text.lines().filter(|line| line.starts_with(&format!("{writer} ")));
            assert!(own.eq((0..2_000).map(|number| line(writer, number).trim_end().to_owned())));
        }
    }
}
