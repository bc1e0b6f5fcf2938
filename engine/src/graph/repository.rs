//! The handle to a repository: the proof that its caller was authorised.

use std::sync::Arc;

use crate::access::{Action, Caller, Decision};
use crate::audit::{self, Event, EventKind, RepositoryRef};
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::Scope;
use crate::id::RepositoryId;
use crate::name::RepositoryPath;
use crate::seam::Timestamp;

/// A repository, opened by a caller for one [`Action`] that the authorizer allowed.
///
/// A handle is for one request: roles and names are looked at when it is opened. The repository need
/// not exist: the first thing pushed creates it, and reading fails with [`Error::NameUnknown`] until
/// then (but nothing refers to anything in it, and saying so is no failure).
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) core: Arc<Core>,
    pub(crate) caller: Caller,
    pub(crate) path: RepositoryPath,
    pub(crate) scope: Arc<Scope>,
    action: Action,
}

impl Core {
    /// Opens `path` for `action`; the one place where authorisation is asked for content.
    pub(crate) async fn open(
        self: &Arc<Self>,
        caller: &Caller,
        path: &RepositoryPath,
        action: Action,
    ) -> Result<Repository, Error> {
        let decided = match self.scope(caller, path, action).await {
            Ok((scope, Decision::Allowed)) => Ok(scope),
            Ok((_, Decision::Denied)) => Err(Error::Denied {
                principal: caller.principal.as_str().to_owned(),
                action,
                name: path.to_string(),
            }),
            Ok((_, Decision::Hidden)) => Err(Error::NameUnknown { name: path.to_string() }),
            Err(error) => Err(error),
        };
        let scope = self.noting(caller, action, path.organisation(), decided)?;
        let (core, caller, path) = (Arc::clone(self), caller.clone(), path.clone());
        Ok(Repository { core, caller, path, scope, action })
    }
}

impl Repository {
    /// `organisation/registry/repository`.
    pub fn path(&self) -> &RepositoryPath {
        &self.path
    }

    /// Whether the caller may also do `action` here.
    pub async fn may(&self, action: Action) -> Result<bool, Error> {
        let target = self.scope.target(&self.path);
        let decision = self.core.authorizer.decide(&self.caller, action, &target).await?;
        Ok(decision == Decision::Allowed)
    }

    /// Fails unless the handle was opened for `action`: a mistake of the frontend, never a hole.
    pub(crate) fn demand(&self, action: Action) -> Result<(), Error> {
        let listing = action == Action::List && self.action == Action::Pull;
        if self.action == action || listing {
            return Ok(());
        }
        Err(Error::Denied {
            principal: self.caller.principal.as_str().to_owned(),
            action,
            name: self.path.to_string(),
        })
    }

    /// The repository's id; [`Error::NameUnknown`] before the first push.
    pub(crate) fn id(&self) -> Result<RepositoryId, Error> {
        self.scope.existing(&self.path)
    }

    /// The names as they are now, for another attempt at a change; for the first too where the
    /// repository was not there when the handle was opened, since this handle may have made it.
    pub(crate) async fn fresh_scope(&self, attempt: usize) -> Result<Arc<Scope>, Error> {
        if attempt == 0 && self.scope.repository.is_some() {
            return Ok(Arc::clone(&self.scope));
        }
        self.core.read_scope(&self.path).await.map(Arc::new)
    }

    /// An event of this caller here.
    pub(crate) fn event(&self, at: Timestamp, kind: EventKind) -> Event {
        Event::by(&self.caller, self.scope.organisation, at, kind)
    }

    /// How events name this repository.
    pub(crate) fn reference(&self, id: RepositoryId) -> RepositoryRef {
        self.scope.reference(id, &self.path)
    }

    /// Notes a pull for the trail; waits for it to be written where too many wait already.
    pub(crate) async fn pulled(&self, digest: Digest, tag: Option<&str>) -> Result<(), Error> {
        let reference = self.reference(self.id()?);
        let now = self.core.seams.clock.now();
        let organisation = self.scope.organisation;
        let pulls = &self.core.pulls;
        while !pulls.add(&self.caller, organisation, &reference, digest, tag, now) {
            audit::flush(&self.core, false).await?;
        }
        Ok(())
    }
}
