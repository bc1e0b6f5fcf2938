//! After a restore of older metadata: giving what is named its bytes back.
//!
//! The bucket is younger than the metadata then. What was pushed since is in no row: it is garbage
//! by the rules, and the names that led to it are lost with the database (they are in no object).
//! What was collected and pushed again since has its object under another generation than its
//! restored row says, and what the restored database lost rows of may lie there whole. For those a
//! repository still links the content, so it is known what is wanted: an object of that digest that
//! verifies is taken. Of a small manifest it is known too: where its record is lost or damaged and an
//! object has its bytes, the record is written anew from them. Run it **before** the first collection, which would delete what is not named.

use crate::Engine;
use crate::audit::{Event, EventKind};
use crate::change::{Attempt, Change, Seen};
use crate::content::{ObjectEntry, ObjectKey};
use crate::copies::rebuild;
use crate::core::Core;
use crate::epoch;
use crate::error::Error;
use crate::gc::content::linked;
use crate::gc::course::Course;
use crate::gc::fsck::{Look, look_at};
use crate::gc::orphans::PAGE_OBJECTS;
use crate::gc::walk::organisations;
use crate::gc::{Progress, Tally, Watch};
use crate::keys::{self, object};
use crate::records::{
    BlobRecord, BlobState, CopyRecord, OrganisationRecord, Record, SessionRecord,
};

/// How to adopt.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct AdoptOptions {
    /// Only tell what would be done.
    pub dry_run: bool,
}

impl AdoptOptions {
    /// Only tells what would be done.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }
}

/// What an adoption did; for a dry run, what it would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AdoptReport {
    /// Content that is linked, missed its bytes, and has them again.
    pub adopted: Tally,
    /// Objects of wanted content whose bytes are wrong.
    pub wrong: Tally,
    /// Small manifests whose record was lost or damaged, written anew from their bytes in the bucket.
    pub rebuilt: Tally,
    /// Small manifests whose record is lost or damaged, and whose bytes are in no object.
    pub lost: Tally,
    /// Copies of small manifests that are not in the bucket: the next collection makes them anew.
    pub forgotten: Tally,
    /// Objects that the store failed to read: nothing was done about them.
    pub unread: Tally,
    /// Objects that no row names and no repository links: the next collection deletes them.
    pub unlinked: Tally,
    /// Objects whose rows are as they should be.
    pub named: Tally,
    /// Objects that can't be told: in flight, or none of ours.
    pub unknown: Tally,
}

enum Fate {
    Adopted,
    Wrong,
    Unread,
    Unlinked,
    Named,
    Unknown,
}

fn unread(entry: &ObjectEntry, why: &str) -> Fate {
    tracing::warn!(object = %entry.key, why, "an object can't be read: run the adoption again");
    Fate::Unread
}

impl Engine {
    /// Looks at every object in the bucket and makes those that are wanted and not named content
    /// again: verified by reading them, counted in the organisation's use. Content that is missed
    /// and has no object is told by [`Engine::fsck`]. May run while everybody works.
    ///
    /// Fails where the metadata is away or the bucket can't be listed; what was adopted stays so,
    /// and it may be run again.
    pub async fn adopt(
        &self,
        options: &AdoptOptions,
        watch: Watch<'_>,
    ) -> Result<AdoptReport, Error> {
        let core = &*self.core;
        let mut report = AdoptReport::default();
        let organisations = organisations(core, None).await?;
        let course = Course::over(&*core.meta, &organisations).await?;
        let mut after: Option<ObjectKey> = None;
        let mut done = 0;
        loop {
            let entries = core.blobs.list("", after.as_ref(), PAGE_OBJECTS).await?;
            let Some(last) = entries.last() else { break };
            after = Some(last.key.clone());
            for entry in &entries {
                if object::parse_epoch(&entry.key).is_some() {
                    continue;
                }
                let tally = match consider(core, entry, options.dry_run).await? {
                    Fate::Adopted => &mut report.adopted,
                    Fate::Wrong => &mut report.wrong,
                    Fate::Unread => &mut report.unread,
                    Fate::Unlinked => &mut report.unlinked,
                    Fate::Named => &mut report.named,
                    Fate::Unknown => &mut report.unknown,
                };
                tally.add(entry.size);
            }
            done += entries.len() as u64;
            let extent = course.behind_objects(&entries);
            watch(&Progress { phase: "objects", done, bytes: report.adopted.bytes, extent });
        }
        for organisation in organisations {
            rebuild(core, organisation, options.dry_run, &mut report, watch).await?;
        }
        if !options.dry_run {
            // What is wanted is known now, so the next collection may take the rest.
            epoch::unite(core).await?;
        }
        Ok(report)
    }
}

async fn consider(core: &Core, entry: &ObjectEntry, dry_run: bool) -> Result<Fate, Error> {
    let Some(found) = object::parse(&entry.key) else { return Ok(Fate::Unknown) };
    if found.part || entry.unfinished.is_some() {
        return Ok(Fate::Unknown);
    }
    let Some(digest) = found.digest else { return Ok(Fate::Unknown) };
    let organisation = found.organisation;
    if object::settled(organisation, &digest, found.generation) != entry.key {
        // A part of what is unfinished.
        return Ok(Fate::Unknown);
    }
    loop {
        let owner: Seen<OrganisationRecord> = core.read(keys::organisation(organisation)).await?;
        let blob: Seen<BlobRecord> = core.read(keys::blob(organisation, &digest)).await?;
        let session: Seen<SessionRecord> =
            core.read(keys::session(organisation, found.generation)).await?;
        let copy = core.meta.get(&keys::copy(organisation, &digest)).await?;
        let copy = copy.and_then(|row| CopyRecord::decode(&row).ok());
        if copy.is_some_and(|copy| copy.generation == found.generation) {
            return Ok(Fate::Named);
        }
        if let Some(record) = &blob.value {
            let quarantined = matches!(record.state, BlobState::Quarantined { .. });
            let own = record.generation == found.generation;
            if own && !quarantined {
                return Ok(Fate::Named);
            }
            let good =
                !matches!(record.state, BlobState::Deleting { .. } | BlobState::Quarantined { .. });
            let place = record.object(organisation, &digest);
            if good {
                match look_at(core, &place, record.size, &digest, false).await {
                    Look::Good => return Ok(Fate::Unlinked),
                    Look::Unread(why) => return Ok(unread(entry, &why)),
                    Look::Missing | Look::Wrong(_) => {}
                }
            }
        }
        if owner.value.is_none() || !linked(&*core.meta, organisation, &digest).await? {
            return Ok(Fate::Unlinked);
        }
        match look_at(core, &entry.key, entry.size, &digest, true).await {
            Look::Good => {}
            Look::Missing | Look::Wrong(_) => return Ok(Fate::Wrong),
            Look::Unread(why) => return Ok(unread(entry, &why)),
        }
        if dry_run {
            return Ok(Fate::Adopted);
        }
        let now = core.now().await?;
        let mut change = Change::new(core);
        change.lean(&owner);
        change.replace(&blob, &BlobRecord::stored(entry.size, found.generation, true, now));
        let before = blob.value.as_ref().map_or(0, |record| record.size);
        let mut delta = i128::from(entry.size) - i128::from(before);
        // The restored database may still hold the upload that made the object: its expiry would
        // take the object away.
        if let Some(upload) = &session.value {
            delta -= i128::from(upload.reserved_bytes);
        }
        if session.value.is_some() {
            change.remove(&session);
        }
        // What is wanted and was paid for once is not refused for a quota.
        change.use_bytes(organisation, i64::try_from(delta).unwrap_or(i64::MAX), None);
        let object = entry.key.to_string();
        let kind = EventKind::ContentAdopted { digest, size: entry.size, object };
        change.event(Event::by_system(organisation, now, kind));
        match change.commit().await {
            Ok(()) => return Ok(Fate::Adopted),
            Err(Attempt::Lost) => {}
            Err(Attempt::Failed(error)) => return Err(error),
        }
    }
}
