//! What clients and operators do, each with what it needs and with how its outcome looks.

use std::time::Duration;

use bytes::Bytes;
use strongroom_engine::access::Action;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::gc::ScrubOptions;
use strongroom_engine::{Chunk, Error};

use super::ground::{Ground, INLINE, LEASE, push_image};
use super::support::{self, IMAGE, body, descriptor, image, sha256};

/// One workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workflow {
    PushBlob,
    PushInChunks,
    /// Hashed as sha256 while it came, finished as sha512.
    FinishAsSha512,
    PushManifest,
    PushLargeManifest,
    Mount,
    MountFromAny,
    MoveTag,
    DeleteTag,
    DeleteManifest,
    DeleteBlob,
    /// A HEAD that finds the lease old.
    Lease,
    Cancel,
    Collect,
    Scrub,
    Seal,
}

pub const WORKFLOWS: [Workflow; 16] = [
    Workflow::PushBlob,
    Workflow::PushInChunks,
    Workflow::FinishAsSha512,
    Workflow::MountFromAny,
    Workflow::MoveTag,
    Workflow::DeleteTag,
    Workflow::Lease,
    Workflow::Scrub,
    Workflow::Seal,
    Workflow::PushManifest,
    Workflow::PushLargeManifest,
    Workflow::Mount,
    Workflow::DeleteManifest,
    Workflow::DeleteBlob,
    Workflow::Cancel,
    Workflow::Collect,
];

/// What shows of a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    Half,
    Done,
}

impl Seen {
    fn of(parts: &[bool]) -> Self {
        match (parts.iter().all(|part| *part), parts.iter().any(|part| *part)) {
            (true, _) => Self::Done,
            (_, false) => Self::Nothing,
            _ => Self::Half,
        }
    }
}

const BLOB: &[u8] = b"the bytes of a blob, which come in pieces";
const GARBAGE: &[u8] = b"what nobody names";

fn blob() -> Bytes {
    Bytes::from_static(BLOB)
}

fn sha512(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha512, bytes)
}

/// A manifest of the blob with a subject, inline or larger than that.
fn manifest(large: bool) -> Bytes {
    let subject = descriptor(IMAGE, &sha256(b"a subject"), 9);
    let long = "x".repeat(if large { INLINE } else { 1 });
    let more = format!(
        r#","subject":{subject},"artifactType":"text/x","annotations":{{"long":"{long}"}}"#
    );
    image((&sha256(b"{}"), 2), &[(&sha256(BLOB), BLOB.len())], &more)
}

impl Workflow {
    /// What has to be there before it.
    pub async fn prepare(self, ground: &Ground) -> Result<(), Error> {
        let new = ground.open("new", Action::Push).await?;
        let source = ground.open("source", Action::Push).await?;
        match self {
            Self::PushBlob | Self::PushInChunks | Self::FinishAsSha512 | Self::Cancel => Ok(()),
            Self::MoveTag | Self::DeleteTag => {
                push_image(&new, BLOB, "before").await?;
                // What loses its tag keeps another, by which it is found and deleted in the end.
                push_image(&new, BLOB, "old").await?;
                if self == Self::DeleteTag {
                    let push = support::push_of(&manifest(false), None, &["new", "too"]);
                    new.push_manifest(&push).await?;
                }
                Ok(())
            }
            Self::Lease => {
                new.push_blob(&sha256(BLOB), None, body(&blob())).await?;
                ground.clock.advance(LEASE * 3 / 4);
                Ok(())
            }
            Self::Scrub | Self::Seal => push_image(&new, BLOB, "before").await,
            Self::PushManifest | Self::PushLargeManifest | Self::DeleteManifest => {
                push_image(&new, BLOB, "before").await?;
                if self == Self::DeleteManifest {
                    let push = support::push_of(&manifest(false), None, &["new", "too"]);
                    new.push_manifest(&push).await?;
                }
                Ok(())
            }
            Self::Mount | Self::MountFromAny => push_image(&source, BLOB, "before").await,
            Self::DeleteBlob => new.push_blob(&sha256(BLOB), None, body(&blob())).await.map(drop),
            Self::Collect => {
                let garbage = Bytes::from_static(GARBAGE);
                new.push_blob(&sha256(GARBAGE), None, body(&garbage)).await?;
                let upload = new.start_upload(None, None).await?;
                new.append(upload.id, Chunk::default(), body(&garbage)).await?;
                // Past the lease and the upload's rest; then past the delay.
                ground.clock.advance(LEASE + Duration::from_secs(1));
                support::gc::collect(&ground.engine).await?;
                ground.clock.advance(Duration::from_hours(2));
                new.push_blob(&sha256(BLOB), None, body(&blob())).await?;
                ground.clock.advance(LEASE + Duration::from_secs(1));
                Ok(())
            }
        }
    }

    pub async fn run(self, ground: &Ground) -> Result<(), Error> {
        let new = ground.open("new", Action::Push).await?;
        let digest = sha256(BLOB);
        match self {
            Self::PushBlob => {
                new.push_blob(&digest, Some(BLOB.len() as u64), body(&blob())).await.map(drop)
            }
            Self::PushInChunks => {
                let upload = new.start_upload(None, None).await?;
                for at in [0..10, 10..30] {
                    let chunk = Chunk { at: Some(at.start as u64), length: Some(at.len() as u64) };
                    new.append(upload.id, chunk, body(&blob().slice(at))).await?;
                }
                let rest = Chunk { at: Some(30), length: None };
                new.finish_upload_with(upload.id, rest, body(&blob().slice(30..)), &digest)
                    .await
                    .map(drop)
            }
            Self::FinishAsSha512 => {
                let upload = new.start_upload(None, None).await?;
                new.append(upload.id, Chunk::default(), body(&blob())).await?;
                new.finish_upload(upload.id, &sha512(BLOB)).await.map(drop)
            }
            Self::MountFromAny => {
                assert!(new.mount_from_any(&digest).await?, "the source has it");
                Ok(())
            }
            Self::MoveTag => {
                let push = support::push_of(&manifest(false), None, &["before"]);
                new.push_manifest(&push).await.map(drop)
            }
            Self::DeleteTag => {
                let new = ground.open("new", Action::Delete).await?;
                new.delete_tag(&"too".parse().unwrap()).await
            }
            Self::Lease => {
                ground.open("new", Action::Pull).await?.stat_blob(&digest).await.map(drop)
            }
            Self::Scrub => {
                let report = ground.engine.scrub(&ScrubOptions::default(), &|_| {}).await?;
                assert!(report.rotten.is_empty(), "good bytes were called rotten");
                if report.unread.count > 0 {
                    return Err(Error::Unavailable("not all could be read".to_owned()));
                }
                Ok(())
            }
            Self::Seal => ground.engine.seal().await.map(drop),
            Self::PushManifest | Self::PushLargeManifest => {
                let bytes = manifest(self == Self::PushLargeManifest);
                new.push_manifest(&support::push_of(&bytes, None, &["new", "too"])).await.map(drop)
            }
            Self::Mount => {
                let source = ground.open("source", Action::Pull).await?;
                assert!(new.mount(&digest, &source).await?, "the source has it");
                Ok(())
            }
            Self::DeleteManifest => {
                let new = ground.open("new", Action::Delete).await?;
                new.delete_manifest(&sha256(&manifest(false))).await
            }
            Self::DeleteBlob => {
                ground.open("new", Action::Delete).await?.delete_blob(&digest).await
            }
            Self::Cancel => {
                let upload = new.start_upload(None, None).await?;
                new.append(upload.id, Chunk::default(), body(&blob())).await?;
                new.cancel_upload(upload.id).await
            }
            Self::Collect => {
                let report = support::gc::collect(&ground.engine).await?;
                if report.failed > 0 {
                    return Err(Error::Unavailable(format!("{} steps failed", report.failed)));
                }
                Ok(())
            }
        }
    }

    /// Whether it says that it was done before.
    pub fn is_done_already(self, error: &Error) -> bool {
        match self {
            Self::DeleteManifest | Self::DeleteTag => {
                matches!(error, Error::ManifestUnknown { .. })
            }
            Self::DeleteBlob => matches!(error, Error::BlobUnknown { .. }),
            _ => false,
        }
    }

    pub async fn seen(self, ground: &Ground) -> Result<Seen, Error> {
        let new = ground.look("new").await?;
        let there = |found: Result<(), Error>| match found {
            Ok(()) => Ok(true),
            Err(
                Error::BlobUnknown { .. }
                | Error::ManifestUnknown { .. }
                | Error::NameUnknown { .. },
            ) => Ok(false),
            Err(error) => Err(error),
        };
        let has_blob = async || {
            let stat = there(new.stat_blob(&sha256(BLOB)).await.map(drop))?;
            let read = support::read_blob(&new, &sha256(BLOB)).await;
            if let Ok(bytes) = &read {
                assert_eq!(bytes, BLOB);
            }
            Ok::<_, Error>([stat, there(read.map(drop))?])
        };
        match self {
            Self::PushBlob | Self::PushInChunks | Self::Mount | Self::MountFromAny => {
                Ok(Seen::of(&has_blob().await?))
            }
            Self::FinishAsSha512 => {
                let read = support::read_blob(&new, &sha512(BLOB)).await;
                if let Ok(bytes) = &read {
                    assert_eq!(bytes, BLOB);
                }
                Ok(Seen::of(&[there(read.map(drop))?]))
            }
            Self::MoveTag => {
                // It points at one or the other, all the time.
                let found = new.manifest(&"before".parse().unwrap()).await?;
                Ok(Seen::of(&[found.bytes == manifest(false)]))
            }
            Self::DeleteTag => {
                let tag = there(new.manifest(&"too".parse().unwrap()).await.map(drop))?;
                let tags = new.tags(None, 10).await?.items;
                let listed = tags.iter().any(|tag| tag.as_str() == "too");
                assert!(tags.iter().any(|tag| tag.as_str() == "new"), "another tag is gone");
                Ok(Seen::of(&[!tag, !listed]))
            }
            Self::Lease => {
                assert_eq!(has_blob().await?, [true, true]);
                Ok(Seen::Done)
            }
            Self::DeleteBlob => Ok(Seen::of(&has_blob().await?.map(|part| !part))),
            Self::PushManifest | Self::PushLargeManifest | Self::DeleteManifest => {
                let bytes = manifest(self == Self::PushLargeManifest);
                let digest = sha256(&bytes);
                let mut parts = Vec::new();
                for reference in [digest.to_string().as_str(), "new", "too"] {
                    let found = new.manifest(&reference.parse().unwrap()).await;
                    if let Ok(found) = &found {
                        assert_eq!(found.bytes, bytes);
                    }
                    parts.push(there(found.map(drop))?);
                }
                let referrers = new.referrers(&sha256(b"a subject"), None, None, 10).await?;
                parts.push(referrers.items.iter().any(|item| item.digest == digest));
                let tags = new.tags(None, 10).await?.items;
                parts.push(tags.iter().any(|tag| tag.as_str() == "too"));
                if self == Self::DeleteManifest {
                    for part in &mut parts {
                        *part = !*part;
                    }
                }
                Ok(Seen::of(&parts))
            }
            // Nobody can see an upload but who knows its id, nor what only keeps house.
            Self::Cancel | Self::Collect | Self::Scrub | Self::Seal => {
                ground.kept().await?;
                Ok(Seen::Done)
            }
        }
    }
}
