//! The ceiling that an access token is: what its scopes name, in the engine's words.

use std::sync::Arc;

use strongroom_engine::access::{Action, Ceiling, Grant};
use strongroom_engine::name::RepositoryPath;

use super::Granted;
use crate::scope::{Actions, Resource, Scope};

/// Each action of a scope with what the engine calls it.
pub(crate) const ACTIONS: [(Actions, Action); 3] = [
    (Actions { pull: true, push: false, delete: false }, Action::Pull),
    (Actions { pull: false, push: true, delete: false }, Action::Push),
    (Actions { pull: false, push: false, delete: true }, Action::Delete),
];

impl Granted {
    /// The ceiling that the token is, which was given for credentials under `credentials`.
    pub(crate) fn ceiling(&self, credentials: &Ceiling) -> Ceiling {
        if self.scopes.iter().any(|scope| scope.resource == Resource::Catalog) {
            return of(&self.scopes, credentials);
        }
        // Of repositories alone it is the same whatever the credentials are, with each request.
        self.ceiling.get_or_init(|| of(&self.scopes, credentials)).clone()
    }
}

fn of(scopes: &[Scope], credentials: &Ceiling) -> Ceiling {
    let grants = scopes.iter().flat_map(|scope| match &scope.resource {
        Resource::Catalog if scope.actions.is_empty() => Vec::new(),
        Resource::Catalog => catalog_of(credentials),
        Resource::Repository(name) => repository_grant(name, scope.actions).into_iter().collect(),
    });
    Ceiling::Grants(grants.collect::<Arc<[_]>>())
}

/// Where what lies under the ceiling may be listed.
pub(crate) fn catalog_of(ceiling: &Ceiling) -> Vec<Grant> {
    let everywhere = Grant {
        organisation: None,
        registry: None,
        repository: None,
        below: false,
        actions: vec![Action::List],
    };
    match ceiling {
        Ceiling::Unlimited => vec![everywhere],
        Ceiling::Grants(grants) => {
            let listing = grants.iter().filter(|grant| grant.actions.contains(&Action::List));
            let only = |grant: &Grant| Grant { actions: vec![Action::List], ..grant.clone() };
            listing.map(only).collect()
        }
    }
}

fn repository_grant(name: &str, granted: Actions) -> Option<Grant> {
    let path: RepositoryPath = name.parse().ok()?;
    let named = ACTIONS.into_iter().filter(|(one, _)| granted.and(*one) == *one);
    let mut actions: Vec<_> = named.map(|(_, action)| action).collect();
    if granted.pull {
        actions.push(Action::List);
    }
    Some(Grant {
        organisation: Some(path.organisation().clone()),
        registry: Some(path.registry().clone()),
        repository: Some(path.repository().clone()),
        below: false,
        actions,
    })
}
