//! Where a collection stands, so that after a kill the next one goes on there.

use serde::{Deserialize, Serialize};

use crate::change::{Attempt, Change};
use crate::core::Core;
use crate::error::Error;
use crate::keys;
use crate::meta::Key;
use crate::records::Record;

/// The row [`keys::COLLECTION`]. A hint only: a run that begins elsewhere is as right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CursorRecord {
    /// The first key of content not looked at yet.
    pub(super) next: Key,
}

impl Record for CursorRecord {
    const KIND: &'static str = "collection";
}

/// Where the last run was stopped; the start of all where it came to its end.
pub(super) async fn load(core: &Core) -> Result<Option<Key>, Error> {
    let row = core.meta.get(keys::COLLECTION).await?;
    // A hint that can't be read is no hint.
    Ok(row.and_then(|row| CursorRecord::decode(&row).ok()).map(|cursor| cursor.next))
}

/// Makes `change` say where the run stands.
pub(super) fn save(change: &mut Change<'_>, next: Key) {
    change.put(keys::COLLECTION.to_vec(), &CursorRecord { next });
}

/// The run came to its end.
pub(super) async fn clear(core: &Core) -> Result<(), Error> {
    let mut change = Change::freeing(core);
    change.delete(keys::COLLECTION.to_vec());
    match change.commit().await {
        Ok(()) | Err(Attempt::Lost) => Ok(()),
        Err(Attempt::Failed(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_is_as_its_golden_file() {
        crate::records::golden::holds("sample", &CursorRecord { next: b"o\0\x01d".to_vec() });
    }
}
