//! Changes of what somebody saw, one at a time.
//!
//! **Promises.** Of requests that name the same `ETag` in their `If-Match`, at whichever nodes and however
//! close to each other, one is done. Each takes its turn at the thing that it changes before it looks
//! whether that is still what it was: a row of the thing, which only one commit can write, says who has
//! it. It is given back with the answer; what a kill leaves holds the others off for [`HELD`].
//!
//! **Never.** It keeps anybody waiting who has no `If-Match`: those want their change whatever was
//! before, and need no room for a row where the disk is full.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_engine::Error;
use strongroom_engine::extension::{Batch, Extension};
use strongroom_engine::seam::Timestamp;
use tokio::time::sleep;

use crate::idempotency::hash;
use crate::problem::{Kind, Problem};
use crate::record::{self, encode};
use crate::routes::Places;

const PREFIX: &str = "turn/";
/// How long a turn that nobody gives back lasts: far longer than a change takes.
const HELD: Duration = Duration::from_mins(1);
/// How often, and after how long each, who waits looks again.
const LOOKS: u32 = 100;
const BETWEEN: Duration = Duration::from_millis(20);
/// What is below the thing that has the `ETag`.
const BELOW: [&str; 2] = ["version", "file"];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// Which request has it, so that one whose turn was over gives back nobody else's.
    by: String,
    until: Timestamp,
}

/// A turn that was taken.
#[derive(Debug)]
pub(crate) struct Turn {
    key: String,
    row: Row,
}

impl Turn {
    /// Takes the turn at what a path names, as `request`; waits for it where another has it.
    pub(crate) async fn take(
        records: &Extension,
        places: &Places,
        request: String,
    ) -> Result<Self, Problem> {
        let places = places.iter().filter(|(name, _)| !BELOW.contains(name));
        let parts: Vec<&[u8]> =
            places.flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]).collect();
        let key = format!("{PREFIX}{}", hash(&parts));
        for _ in 0..LOOKS {
            let now = records.now().await?;
            let batch = match records.get(&key).await? {
                None => Batch::new().absent(key.as_str()),
                Some(entry) => {
                    // What can't be read holds nobody off.
                    let held = decode(&entry.value).is_some_and(|row| now < row.until);
                    if held {
                        sleep(BETWEEN).await;
                        continue;
                    }
                    Batch::new().unchanged(key.as_str(), entry.version)
                }
            };
            let row = Row { by: request.clone(), until: now.plus(HELD) };
            match records.commit(batch.put(key.as_str(), encode(&row)).bookkeeping()).await {
                Ok(()) => return Ok(Self { key, row }),
                Err(Error::Contended { .. }) => sleep(BETWEEN).await,
                Err(error) => return Err(error.into()),
            }
        }
        let detail = "others change the same thing now; look at it again in a moment";
        Err(Problem::new(Kind::Away, detail).retry_after(Duration::from_secs(1)))
    }

    /// Gives it back. Where that fails it is over by itself.
    pub(crate) async fn give_back(self, records: &Extension) {
        let given = async {
            let Some(entry) = records.get(&self.key).await? else { return Ok(()) };
            if decode(&entry.value).as_ref() != Some(&self.row) {
                return Ok(());
            }
            let batch = Batch::new().unchanged(self.key.as_str(), entry.version).delete(self.key);
            records.commit(batch.bookkeeping()).await
        };
        if let Err(error) = given.await {
            tracing::warn!(%error, "the turn at a change is over only by itself");
        }
    }
}

fn decode(bytes: &[u8]) -> Option<Row> {
    record::decode("a turn", bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_row_is_written_as_the_other_records_are() {
        let row = Row { by: "me".to_owned(), until: Timestamp(7) };
        let bytes = encode(&row);
        assert_eq!(bytes, b"\x01{\"by\":\"me\",\"until\":7}");
        assert_eq!(decode(&bytes), Some(row));
        assert_eq!(decode(&bytes[1..]), None, "what can't be read holds nobody off");
    }
}
