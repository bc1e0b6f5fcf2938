//! What backups need stays: pins.
//!
//! A pin is made before the snapshot of its backup is taken, and says that every object that was
//! content then stays in the blob store until the pin is dropped. Why nothing pinned goes, whatever
//! runs at the same time and whatever the clocks say:
//!
//! - **content given up** (`content`): the commit that gives it up requires the row of pins as it was
//!   read just before, and writes a time that is no earlier than any pin in it. So for each pin that
//!   was there, `at <= since`, and its object is not deleted. A pin that is made later takes its
//!   snapshot later: in that one the content is given up already, and it does not need it;
//! - **objects that nothing names** (`orphans`): whether a pin stands is looked at after it was seen
//!   that no row names them. A snapshot that names one is older than that look, and its pin too. Since
//!   when nothing names it is not known, so while any pin stands they all stay;
//! - **a deleted organisation** (`tenancy::purge`): its objects go after the organisation was seen
//!   deleted, and only where no pin stands after that; else they are orphans from then on.

use crate::change::Seen;
use crate::core::Core;
use crate::error::Error;
use crate::keys;
use crate::records::PinsRecord;
use crate::seam::Timestamp;

/// The pins as they were read.
pub(crate) struct Pins {
    pub(crate) seen: Seen<PinsRecord>,
    now: Timestamp,
}

impl Pins {
    /// Reads them, and then the time.
    pub(crate) async fn load(core: &Core) -> Result<Self, Error> {
        let seen = core.read(keys::PINS.to_vec()).await?;
        Ok(Self { seen, now: core.now().await? })
    }

    fn standing(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let pins = self.seen.value.iter().flat_map(|record| record.pins.values());
        pins.filter(|pin| pin.until.is_none_or(|until| until > self.now)).map(|pin| pin.at)
    }

    /// Whether any pin stands.
    pub(crate) fn any(&self) -> bool {
        self.standing().next().is_some()
    }

    /// Whether what was given up at `since` was content when a pin that stands was made.
    pub(crate) fn keep(&self, since: Timestamp) -> bool {
        self.standing().any(|at| at <= since)
    }

    /// The time to give content up at.
    pub(crate) fn since(&self, now: Timestamp) -> Timestamp {
        self.standing().fold(now, Timestamp::max)
    }
}
