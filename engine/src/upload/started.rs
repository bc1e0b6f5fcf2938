//! Uploads of one request alone: whoever began one can't come back to it.

use crate::access::Action;
use crate::audit::UploadEnd;
use crate::change::Seen;
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::Repository;
use crate::id::SessionId;
use crate::keys;
use crate::records::SessionRecord;
use crate::room::Held;

/// How often the row is read again where a commit that was on its way changed it.
const TRIES: usize = 8;

/// An upload whose id nobody was told. Dropped before it [`ended`](Self::ended), as a request that
/// is given up drops it, its row, its object and what it reserved go away behind; else they would
/// hold the organisation's quota until they expire.
#[derive(Debug)]
pub(crate) struct Started {
    /// Taken once the upload ended.
    repository: Option<Repository>,
    id: SessionId,
}

impl Repository {
    /// Starts an upload of this request alone, and holds the room for `length`.
    ///
    /// In a task of its own: where the request is given up while the row is being committed, the
    /// task still ends, and drops what it made.
    pub(super) async fn start_alone(
        &self,
        digest: &Digest,
        length: Option<u64>,
    ) -> Result<(Started, Seen<SessionRecord>, Held), Error> {
        self.demand(Action::Push)?;
        let room = self.room_for(length).await?;
        let (repository, digest) = (self.clone(), *digest);
        let starting = tokio::spawn(async move {
            let (id, seen) = repository.start(Some(&digest), length).await?;
            Ok((Started { repository: Some(repository), id }, seen))
        });
        match starting.await {
            Ok(started) => started.map(|(started, seen)| (started, seen, room)),
            Err(error) => Err(Error::Unavailable(format!("starting: {error}"))),
        }
    }
}

impl Started {
    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    /// A commit removed its row.
    pub(super) fn ended(mut self) {
        self.repository = None;
    }

    /// Gives it up, unless a commit ended it already; what can't be taken away now expires.
    pub(crate) async fn give_up(mut self) {
        // Whoever drops this future now leaves the rest to the drop.
        if let Some(repository) = &self.repository {
            end(repository, self.id).await;
        }
        self.repository = None;
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let Some(repository) = self.repository.take() else { return };
        let id = self.id;
        // Without a runtime the process ends: it expires.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { end(&repository, id).await });
        }
    }
}

async fn end(repository: &Repository, id: SessionId) {
    if let Err(error) = try_end(repository, id).await {
        tracing::warn!(%id, %error, "an upload that was given up stays until it expires");
    }
}

async fn try_end(repository: &Repository, id: SessionId) -> Result<(), Error> {
    let key = keys::session(repository.scope.organisation, id);
    for _ in 0..TRIES {
        let seen: Seen<SessionRecord> = repository.core.read(key.clone()).await?;
        if seen.value.is_none() || repository.give_up(id, &seen, UploadEnd::Failed).await? {
            return Ok(());
        }
    }
    Err(Error::Contended { what: "an upload" })
}
