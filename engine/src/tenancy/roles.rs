//! Roles decide: the [`Authorizer`] over the members' records.

use std::sync::Arc;

use async_trait::async_trait;

use crate::access::{Action, Authorizer, Caller, Decision, Principal, Role, Target};
use crate::error::Error;
use crate::keys;
use crate::meta::{Key, Memo, MetaStore};
use crate::records::{MemberRecord, Record};

/// All there is to ask for.
const ACTIONS: [Action; 5] =
    [Action::List, Action::Pull, Action::Push, Action::Delete, Action::Manage];

/// Decides by the roles of members (DESIGN D7) as they are at each question, so that a role that
/// was taken away is gone at the next request, on every node.
///
/// - A member may do what its role in the organisation or in the registry allows, whichever is more.
/// - Anybody may list and pull in a public registry; nobody without a name may do more.
/// - Who has a role in one registry only may also see that the organisation exists.
/// - All of it only as far as the caller's token reaches.
///
/// Whoever may do nothing at all there gets [`Decision::Hidden`].
#[derive(Debug, Clone)]
pub struct RoleAuthorizer {
    meta: Arc<dyn MetaStore>,
    members: Arc<Memo<Key, Option<Arc<MemberRecord>>>>,
}

impl RoleAuthorizer {
    /// Decides by the records in `meta`, the store of the engine that asks.
    pub fn new(meta: Arc<dyn MetaStore>) -> Self {
        Self { meta, members: Arc::default() }
    }

    /// What the member records say of the caller.
    async fn member(
        &self,
        caller: &Caller,
        target: &Target<'_>,
    ) -> Result<Option<Arc<MemberRecord>>, Error> {
        let Principal::Known(id) = &caller.principal else { return Ok(None) };
        let key = keys::member(target.organisation, id.as_str());
        let revision = self.meta.revision();
        if let Some(member) = self.members.find(revision, &key) {
            return Ok(member);
        }
        let row = self.meta.get(&key).await?;
        let member = row.as_deref().map(MemberRecord::decode).transpose()?.map(Arc::new);
        self.members.keep(revision, key, member.clone());
        Ok(member)
    }
}

/// Whether roles or a public registry allow `action`, whatever the token.
fn granted(member: Option<&MemberRecord>, action: Action, target: &Target<'_>) -> bool {
    let role = member.and_then(|member| {
        let here = target.registry.and_then(|registry| member.registries.get(&registry).copied());
        member.role.max(here)
    });
    let by_role = role.is_some_and(|role: Role| role.allows(action));
    let by_public = target.public && matches!(action, Action::List | Action::Pull);
    let by_a_registry = target.registry.is_none()
        && action == Action::List
        && member.is_some_and(|member| !member.registries.is_empty());
    by_role || by_public || by_a_registry
}

#[async_trait]
impl Authorizer for RoleAuthorizer {
    async fn decide(
        &self,
        caller: &Caller,
        action: Action,
        target: &Target<'_>,
    ) -> Result<Decision, Error> {
        let member = self.member(caller, target).await?;
        let may = |action| {
            granted(member.as_deref(), action, target) && caller.ceiling.allows(action, target)
        };
        Ok(if may(action) {
            Decision::Allowed
        } else if ACTIONS.into_iter().any(may) {
            Decision::Denied
        } else {
            Decision::Hidden
        })
    }
}
