//! A piece of an organisation's content: given up once nobody links it, and gone after a delay.
//!
//! Why nothing that is wanted goes: `live → condemned(nonce) → deleting` are two commits with a
//! look for links in between, and each requires the row as the one before left it. Whoever adds a
//! link leans on the row `live` or makes it so. Was that committed before `condemned`, the look
//! finds the link; after, the row is not the condemned one any more. Nobody makes `deleting` live
//! again: a push meets it with a new generation, whose key is another, so deleting the old object
//! can't hit it. Nobody leans on a quarantined row either, so it needs no `condemned`.

use crate::audit::{Event, EventKind};
use crate::change::{Attempt, Change, Seen};
use crate::content::{ObjectKey, StoreError};
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::gc::CollectReport;
use crate::gc::pins::Pins;
use crate::gc::walk::Pages;
use crate::id::OrganisationId;
use crate::keys;
use crate::meta::{MetaRead, prefix_range};
use crate::records::{BlobRecord, BlobState, LinkRecord, Record};
use crate::seam::Timestamp;

/// One piece of content that a collection looks at.
pub(super) struct Content<'a> {
    pub(super) core: &'a Core,
    pub(super) organisation: OrganisationId,
    pub(super) digest: Digest,
}

impl Content<'_> {
    /// Takes the content one step further. `needed`: a link was seen that needs it.
    pub(super) async fn look(
        &self,
        needed: bool,
        now: Timestamp,
        dry_run: bool,
        report: &mut CollectReport,
    ) -> Result<(), Error> {
        let seen = self.read().await?;
        let Some(record) = &seen.value else { return Ok(()) };
        if dry_run {
            match record.state {
                BlobState::Deleting { since } if self.due(since, now) => {
                    let pinned = Pins::load(self.core).await?.keep(since);
                    let tally = if pinned { &mut report.pinned } else { &mut report.deleted };
                    tally.add(record.size);
                }
                BlobState::Deleting { .. } => {}
                _ if !needed => report.given_up.add(record.size),
                _ if !record.settled => report.settled.add(record.size),
                _ => {}
            }
            return Ok(());
        }
        match record.state {
            BlobState::Deleting { since } if self.due(since, now) => {
                if Pins::load(self.core).await?.keep(since) {
                    report.pinned.add(record.size);
                    return Ok(());
                }
                self.delete(&seen, now, report).await
            }
            BlobState::Deleting { .. } => Ok(()),
            BlobState::Quarantined { .. } if needed => Ok(()),
            BlobState::Quarantined { .. } => {
                if !linked(&*self.core.meta, self.organisation, &self.digest).await?
                    && self.give_up(&seen, now).await?
                {
                    report.given_up.add(record.size);
                }
                Ok(())
            }
            BlobState::Condemned { .. } if needed => self.revive(&seen).await,
            BlobState::Live if needed => self.settle(&seen, report).await,
            BlobState::Live | BlobState::Condemned { .. } => {
                // Looking before condemning saves a commit where somebody links it since.
                let linked_since =
                    linked(&*self.core.meta, self.organisation, &self.digest).await?;
                if !linked_since
                    && let Some(condemned) = self.condemn(&seen).await?
                    && self.decide(&condemned, now).await?
                {
                    report.given_up.add(record.size);
                }
                Ok(())
            }
        }
    }

    pub(super) async fn read(&self) -> Result<Seen<BlobRecord>, Error> {
        self.core.read(keys::blob(self.organisation, &self.digest)).await
    }

    fn due(&self, since: Timestamp, now: Timestamp) -> bool {
        now >= since.plus(self.core.settings.delete_delay)
    }

    fn object(&self, record: &BlobRecord) -> ObjectKey {
        record.object(self.organisation, &self.digest)
    }

    /// The first step: from here on whoever wants the content changes its row. `None` where
    /// somebody changed it already.
    pub(super) async fn condemn(
        &self,
        seen: &Seen<BlobRecord>,
    ) -> Result<Option<Seen<BlobRecord>>, Error> {
        let Some(record) = &seen.value else { return Ok(None) };
        let nonce = self.core.seams.random_u64();
        let condemned = BlobRecord { state: BlobState::Condemned { nonce }, ..record.clone() };
        let won = self.write(seen, &condemned).await?;
        Ok(won.then(|| Seen::of(seen.key.clone(), condemned)))
    }

    /// The second look and what it says: beyond recall, or live again. True for the former.
    pub(super) async fn decide(
        &self,
        condemned: &Seen<BlobRecord>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        if linked(&*self.core.meta, self.organisation, &self.digest).await? {
            self.revive(condemned).await?;
            return Ok(false);
        }
        self.give_up(condemned, now).await
    }

    /// Beyond recall from here on.
    async fn give_up(&self, seen: &Seen<BlobRecord>, now: Timestamp) -> Result<bool, Error> {
        let Some(record) = &seen.value else { return Ok(false) };
        let pins = Pins::load(self.core).await?;
        let state = BlobState::Deleting { since: pins.since(now) };
        let mut change = Change::freeing(self.core);
        // A pin made meanwhile must not find the content given up before it.
        change.lean(&pins.seen);
        change.replace(seen, &BlobRecord { state, ..record.clone() });
        let kind = EventKind::ContentGivenUp { digest: self.digest, size: record.size };
        change.event(Event::by_system(self.organisation, now, kind));
        won(change.commit().await)
    }

    async fn revive(&self, seen: &Seen<BlobRecord>) -> Result<(), Error> {
        let Some(record) = &seen.value else { return Ok(()) };
        let live = BlobRecord { state: BlobState::Live, ..record.clone() };
        self.write(seen, &live).await.map(drop)
    }

    /// Writes the row unless somebody else did; says which.
    async fn write(&self, seen: &Seen<BlobRecord>, record: &BlobRecord) -> Result<bool, Error> {
        let mut change = Change::freeing(self.core);
        change.replace(seen, record);
        won(change.commit().await)
    }

    /// The last step: the object, and then its row with its bytes. Where a push replaced the row
    /// meanwhile, its object has another key.
    pub(super) async fn delete(
        &self,
        seen: &Seen<BlobRecord>,
        now: Timestamp,
        report: &mut CollectReport,
    ) -> Result<(), Error> {
        let Some(record) = &seen.value else { return Ok(()) };
        // Can't be, by the above. Bytes are worth one more look where a database was restored or
        // damaged: `fsck` tells.
        if linked(&*self.core.meta, self.organisation, &self.digest).await? {
            tracing::error!(digest = %self.digest, "content being deleted is linked: it stays");
            report.failed += 1;
            return Ok(());
        }
        if let Err(error) = self.core.blobs.delete(&self.object(record)).await {
            report.failure(Some(&self.digest), &error);
            return Ok(());
        }
        let mut change = Change::freeing(self.core);
        change.remove(seen);
        let size = i64::try_from(record.size).unwrap_or(i64::MAX);
        change.use_bytes(self.organisation, -size, None);
        let kind = EventKind::ContentDeleted { digest: self.digest, size: record.size };
        change.event(Event::by_system(self.organisation, now, kind));
        if won(change.commit().await)? {
            report.deleted.add(record.size);
        }
        Ok(())
    }

    /// Moves the object under its digest, durably, and then says so. The old one is an orphan
    /// from then on.
    async fn settle(
        &self,
        seen: &Seen<BlobRecord>,
        report: &mut CollectReport,
    ) -> Result<(), Error> {
        let Some(record) = seen.value.as_ref().filter(|record| !record.settled) else {
            return Ok(());
        };
        match self.move_to_place(seen, record).await? {
            Ok(true) => report.settled.add(record.size),
            Ok(false) => {}
            Err(error) => report.failure(Some(&self.digest), &error),
        }
        Ok(())
    }

    /// False where the row changed meanwhile: whoever changed it says what comes next.
    async fn move_to_place(
        &self,
        seen: &Seen<BlobRecord>,
        record: &BlobRecord,
    ) -> Result<Result<bool, StoreError>, Error> {
        // Where it lay it is read still, by who was sent there just now: that counts from here.
        let settled =
            BlobRecord { settled: true, stored_at: self.core.now().await?, ..record.clone() };
        let moved = self.core.blobs.settle(&self.object(record), &self.object(&settled)).await;
        if let Err(error) = moved {
            return Ok(Err(error));
        }
        Ok(Ok(self.write(seen, &settled).await?))
    }
}

/// Moves content that lies where it was uploaded under its digest, as a collection would. What is
/// not live, or moved already, stays as it is.
pub(crate) async fn settle(
    core: &Core,
    organisation: OrganisationId,
    digest: &Digest,
) -> Result<(), Error> {
    let content = Content { core, organisation, digest: *digest };
    let seen = content.read().await?;
    match &seen.value {
        Some(record) if !record.settled && record.state == BlobState::Live => {
            content.move_to_place(&seen, record).await??;
        }
        _ => {}
    }
    Ok(())
}

/// Whether a commit happened; not where somebody changed the row first.
fn won(committed: Result<(), Attempt>) -> Result<bool, Error> {
    match committed {
        Ok(()) => Ok(true),
        Err(Attempt::Lost) => Ok(false),
        Err(Attempt::Failed(error)) => Err(error),
    }
}

/// Whether any link needs the content. One that can't be read may.
pub(super) async fn linked(
    read: &dyn MetaRead,
    organisation: OrganisationId,
    digest: &Digest,
) -> Result<bool, Error> {
    let mut pages = Pages::new(read, prefix_range(&keys::blob(organisation, digest)));
    loop {
        let rows = pages.next().await?;
        if rows.is_empty() {
            return Ok(false);
        }
        for (key, value) in rows {
            if let Some((_, Some(_))) = keys::parse_content(&key)
                && LinkRecord::decode(&value).map_or(true, |link| link.needs_content())
            {
                return Ok(true);
            }
        }
    }
}
