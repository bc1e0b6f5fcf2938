//! The handle to a repository: the proof that its caller was authorised.

use std::sync::Arc;

use tokio::task::coop::consume_budget;

use crate::access::{Action, Caller, Decision, PrincipalId};
use crate::audit::{self, Event, EventKind, RepositoryRef};
use crate::core::Core;
use crate::digest::Digest;
use crate::error::Error;
use crate::graph::Scope;
use crate::id::{OrganisationId, RegistryId, RepositoryId};
use crate::keys;
use crate::name::RepositoryPath;
use crate::records::NameRecord;
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
            Ok((_, Decision::Hidden)) => Err(self.unseen(path).await),
            Err(error) => Err(error),
        };
        let scope = self.noting(caller, action, path.organisation(), decided)?;
        let (core, caller, path) = (Arc::clone(self), caller.clone(), path.clone());
        Ok(Repository { core, caller, path, scope, action })
    }

    /// What who may not see a repository is told. That a name leads nowhere is never cached and takes a
    /// look at the store; so this takes one, too: else, while the store is away, those are not there
    /// that can't be answered, and those are hidden that can.
    async fn unseen(&self, path: &RepositoryPath) -> Error {
        let key = keys::organisation_name(path.organisation().as_str());
        match self.read::<NameRecord>(key).await {
            Ok(_) => Error::NameUnknown { name: path.to_string() },
            Err(error) => error,
        }
    }
}

impl Repository {
    /// A repository for the engine's own rules to remove from; who made them was asked.
    pub(crate) fn by_rule(
        core: &Arc<Core>,
        caller: &Caller,
        path: &RepositoryPath,
        scope: Arc<Scope>,
    ) -> Self {
        let (core, caller, path) = (Arc::clone(core), caller.clone(), path.clone());
        Self { core, caller, path, scope, action: Action::Delete }
    }

    /// The same repository, for what a frontend writes into it of its own accord by a rule that the
    /// registry's managers made, such as a cache that fills itself: a handle for [`Action::Push`] in
    /// the name of `rule` (`system:…`), from one that somebody was given to read. Whoever reads gains
    /// no right by it: the frontend decides what is written, they only bring it about, and their
    /// address stays in the trail's lines.
    pub fn for_rule(&self, rule: PrincipalId) -> Self {
        let caller = Caller { origin: self.caller.origin.clone(), ..Caller::known(rule) };
        Self { caller, action: Action::Push, ..self.clone() }
    }

    /// `organisation/registry/repository`.
    pub fn path(&self) -> &RepositoryPath {
        &self.path
    }

    /// The organisation and the registry that it is in, by what never changes of them.
    pub fn tenant(&self) -> (OrganisationId, RegistryId) {
        (self.scope.organisation, self.scope.registry)
    }

    /// Whether anything was ever pushed there, as of when the handle was opened.
    pub fn exists(&self) -> bool {
        self.scope.repository.is_some()
    }

    /// Whether anything was ever pushed there, as of this moment.
    pub async fn exists_now(&self) -> Result<bool, Error> {
        Ok(self.core.read_scope(&self.path).await?.repository.is_some())
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
        let like = audit::Like {
            organisation: self.scope.organisation,
            principal: self.caller.principal.as_str(),
            origin: &self.caller.origin,
            repository: (self.id()?, self.scope.registry, self.path.as_str()),
            digest,
            tag,
        };
        let now = self.core.seams.clock.now();
        // What is read from memory alone must let others run, too: who writes these lines among them.
        consume_budget().await;
        loop {
            if let Some(waiting) = self.core.pulls.add(&like, now) {
                audit::write_early(&self.core, waiting);
                return Ok(());
            }
            audit::flush(&self.core, false).await?;
        }
    }
}
