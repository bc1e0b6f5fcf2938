//! Which uploads are being written to in this process.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::SessionId;

/// The memory that all uploads together gather bytes in.
const GATHER_BYTES: usize = 16 << 20;
/// The largest batch one upload hashes and writes at once …
const MAX_BATCH_BYTES: usize = 2 << 20;
/// … and the smallest, however many there are.
const MIN_BATCH_BYTES: usize = 96 << 10;

/// One writer for each upload, and how large its batches may be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writers(Arc<Mutex<HashSet<SessionId>>>);

/// The right to write to one upload, until it is dropped.
#[derive(Debug)]
pub(crate) struct Writing {
    writers: Writers,
    session: SessionId,
}

impl Writers {
    /// Takes the right to write to `session`; none where another request has it.
    pub(crate) fn begin(&self, session: SessionId) -> Option<Arc<Writing>> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = sessions.insert(session);
        free.then(|| Arc::new(Writing { writers: self.clone(), session }))
    }

    /// How many bytes one upload may gather now. One batch is gathered while another is hashed and a
    /// third is written, so each upload holds three.
    pub(crate) fn batch_bytes(&self) -> usize {
        let active = self.0.lock().unwrap_or_else(PoisonError::into_inner).len().max(1);
        (GATHER_BYTES / (3 * active)).clamp(MIN_BATCH_BYTES, MAX_BATCH_BYTES)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut sessions = self.writers.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.remove(&self.session);
    }
}
