//! Making, renewing and dropping pins. Why a pin holds is told in `gc/pins.rs`.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::BackupError;
use crate::Engine;
use crate::audit::{Event, EventKind, SYSTEM};
use crate::change::{Attempt, Change, retry};
use crate::core::Core;
use crate::error::Error;
use crate::gc::pins::Pins;
use crate::id::BackupId;
use crate::records::{PinRecord, PinsRecord};
use crate::seam::Timestamp;

/// The most pins there may be: they stand in one row.
const MAX_PINS: usize = 1000;
/// How long the pin of a backup that runs stands without being renewed: what a killed one holds back.
const HOLD: Duration = Duration::from_hours(1);
/// How often it is renewed.
const RENEW: Duration = Duration::from_mins(10);

/// What keeps objects from collection for a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Whose it is.
    pub id: BackupId,
    /// What was content then stays.
    pub at: Timestamp,
    /// Until when it stands; for ever, that is until it is dropped, where absent.
    pub until: Option<Timestamp>,
    /// What for.
    pub what: String,
}

impl Engine {
    /// The pins that stand, in the order of their ids.
    pub async fn pins(&self) -> Result<Vec<Pin>, Error> {
        let (pins, now) = (Pins::load(&self.core).await?, self.core.now().await?);
        let record = pins.seen.value.unwrap_or_default();
        let standing = record.pins.into_iter().filter(|(_, pin)| stands(pin, now));
        Ok(standing
            .map(|(id, pin)| Pin { id, at: pin.at, until: pin.until, what: pin.what })
            .collect())
    }

    /// Drops a pin: what only its backup needs goes with the next collections. False where there is none.
    pub async fn drop_pin(&self, id: BackupId) -> Result<bool, Error> {
        let line = Some(format!("dropped the pin of backup {id}"));
        change(&self.core, line, |pins, _| Ok(pins.remove(&id).is_some())).await
    }
}

fn stands(pin: &PinRecord, now: Timestamp) -> bool {
    pin.until.is_none_or(|until| until > now)
}

type PinMap = std::collections::BTreeMap<BackupId, PinRecord>;

/// Changes the row of pins, forgetting those that expired; says whether it was changed.
async fn change(
    core: &Core,
    line: Option<String>,
    edit: impl Fn(&mut PinMap, Timestamp) -> Result<bool, Error> + Send + Sync,
) -> Result<bool, Error> {
    retry!("the row of pins", _attempt => {
        let pins = Pins::load(core).await?;
        let now = core.now().await?;
        let mut record = pins.seen.value.clone().unwrap_or_default();
        record.pins.retain(|_, pin| stands(pin, now));
        if !edit(&mut record.pins, now)? {
            return Ok(false);
        }
        let mut change = Change::freeing(core);
        if record.pins.is_empty() {
            change.remove(&pins.seen);
        } else {
            change.replace(&pins.seen, &record);
        }
        if let Some(what) = &line {
            change.event(line_of(now, what));
        }
        change.commit().await?;
        Ok::<_, Attempt>(true)
    })
}

/// A line of the system's trail.
pub(super) fn line_of(at: Timestamp, what: &str) -> Event {
    let kind = EventKind::Maintained { what: what.to_owned(), objects: 0, bytes: 0 };
    Event::by_system(SYSTEM, at, kind)
}

/// A pin of a backup that runs: renewed as long as this is there, and gone within the hour after a kill.
#[derive(Debug)]
pub(super) struct Held {
    core: Arc<Core>,
    id: BackupId,
    renewing: JoinSet<()>,
}

impl Held {
    /// Pins all that is content from here on.
    pub(super) async fn begin(core: &Arc<Core>, id: BackupId) -> Result<Self, BackupError> {
        let full = std::sync::atomic::AtomicBool::new(false);
        let pinned = change(core, None, |pins, now| {
            if pins.len() >= MAX_PINS {
                full.store(true, std::sync::atomic::Ordering::Relaxed);
                return Ok(false);
            }
            let what = "a backup that is being made".to_owned();
            pins.insert(id, PinRecord { at: now, until: Some(now.plus(HOLD)), what });
            Ok(true)
        })
        .await?;
        if !pinned {
            return Err(BackupError::TooManyPins(MAX_PINS));
        }
        let mut renewing = JoinSet::new();
        let core = Arc::clone(core);
        renewing.spawn(renew(Arc::downgrade(&core), id));
        Ok(Self { core, id, renewing })
    }

    /// Makes the pin one that stands until it is dropped.
    pub(super) async fn keep(mut self) -> Result<(), BackupError> {
        self.renewing.shutdown().await;
        let id = self.id;
        let line = Some(format!("backup {id} made, its objects are pinned"));
        let kept = change(&self.core, line, |pins, _| {
            let Some(pin) = pins.get_mut(&id) else { return Ok(false) };
            "a backup".clone_into(&mut pin.what);
            pin.until = None;
            Ok(true)
        });
        if kept.await? { Ok(()) } else { Err(BackupError::PinLost(id)) }
    }

    /// Drops the pin; fails where it was gone before.
    pub(super) async fn end(mut self, done: bool) -> Result<(), BackupError> {
        self.renewing.shutdown().await;
        let id = self.id;
        let line = done.then(|| format!("backup {id} made"));
        let dropped = change(&self.core, line, |pins, _| Ok(pins.remove(&id).is_some()));
        if dropped.await? { Ok(()) } else { Err(BackupError::PinLost(id)) }
    }
}

async fn renew(core: std::sync::Weak<Core>, id: BackupId) {
    loop {
        tokio::time::sleep(RENEW).await;
        let Some(core) = core.upgrade() else { return };
        let renewed = change(&core, None, |pins, now| {
            let Some(pin) = pins.get_mut(&id) else { return Ok(false) };
            pin.until = Some(now.plus(HOLD));
            Ok(true)
        });
        if let Err(error) = renewed.await {
            tracing::warn!(%error, "the pin of a backup that runs could not be renewed");
        }
    }
}

/// The row of pins of a restored store: what is in its bucket stays until an operator has looked.
pub(super) fn of_restore(id: BackupId, at: Timestamp) -> PinsRecord {
    let what = "restored over objects that were there: run `adopt`, then drop this".to_owned();
    PinsRecord { pins: PinMap::from([(id, PinRecord { at, until: None, what })]) }
}
