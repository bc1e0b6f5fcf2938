//! Organisations and their members.

use strongroom_engine::access::{Caller, Ceiling, Principal, PrincipalId};
use strongroom_engine::name::OrganisationName;
use strongroom_engine::tenancy;
use strongroom_identity::founders::FoundError;

use crate::Admin;
use crate::gate::operates;
use crate::input::Input;
use crate::model::{
    Invitation, MAX_BYTES, Me, Member, NewOrganisation, Organisation, Quota, Rename, SetRole, Usage,
};
use crate::problem::{Kind, Problem};
use crate::reply::{Reply, demand_same, is_conditional};

/// `GET /me`
pub(crate) fn me(caller: &Caller) -> Reply {
    Reply::json(&Me {
        principal: caller.principal.as_str().to_owned(),
        operator: operates(caller),
        bounded: caller.ceiling != Ceiling::Unlimited,
    })
}

/// A number of bytes, where it is one that every reader of JSON keeps.
fn bytes(of: Option<u64>) -> Result<Option<u64>, Problem> {
    match of {
        Some(bytes) if bytes > MAX_BYTES => {
            Err(Problem::field("/quota_bytes", format!("{MAX_BYTES} is the most")))
        }
        other => Ok(other),
    }
}

impl Admin {
    pub(crate) async fn list_organisations(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (after, limit) = (input.cursor()?, input.limit());
        let engine = &self.0.engine;
        let page = if input.flag("all") {
            engine.organisations(caller, after.as_deref(), limit).await?
        } else {
            let Principal::Known(id) = &caller.principal else {
                return Err(Problem::new(Kind::Unauthorized, "sign in first"));
            };
            engine.organisations_of(caller, id, after.as_deref(), limit).await?
        };
        Ok(Reply::page::<_, Organisation>(page))
    }

    pub(crate) async fn create_organisation(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let new: NewOrganisation = input.json()?;
        let quota = bytes(new.quota_bytes)?;
        if !operates(caller) {
            return self.found_organisation(caller, &new).await;
        }
        let admin = match &new.admin {
            Some(text) => Some(self.somebody(text, "/admin").await?),
            None => None,
        };
        let made = self.0.engine.create_organisation(caller, &new.name, quota, admin.as_ref());
        let made = made.await.map_err(|error| Problem::from(error).at("/name"))?;
        Ok(Reply::json(&Organisation::from(made)))
    }

    /// An organisation that somebody makes for themselves.
    async fn found_organisation(
        &self,
        caller: &Caller,
        new: &NewOrganisation,
    ) -> Result<Reply, Problem> {
        let operators = "an operator says this: leave it out";
        if new.quota_bytes.is_some() {
            return Err(Problem::field("/quota_bytes", operators));
        }
        if new.admin.is_some() {
            return Err(Problem::field("/admin", operators));
        }
        let made = self.0.founders.found(caller, &new.name).await.map_err(|error| match error {
            FoundError::Engine(error) => Problem::from(error).at("/name"),
            error => error.into(),
        })?;
        Ok(Reply::json(&Organisation::from(made)))
    }

    /// The principal that somebody is invited by.
    async fn somebody(&self, text: &str, pointer: &str) -> Result<PrincipalId, Problem> {
        let found = self.0.identity.find(text).await?;
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(Problem::field(pointer, "nobody of this name has an account here")),
            several => {
                let names: Vec<_> = several.iter().map(PrincipalId::as_str).collect();
                let detail =
                    format!("several people have this name; say which: {}", names.join(", "));
                Err(Problem::field(pointer, detail))
            }
        }
    }

    async fn organisation(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<tenancy::Organisation, Problem> {
        let name: OrganisationName = input.place("organisation")?;
        Ok(self.0.engine.organisation(caller, &name).await?)
    }

    pub(crate) async fn get_organisation(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        Ok(Reply::json(&Organisation::from(self.organisation(caller, input).await?)))
    }

    /// Fails where the organisation is not what the request is for.
    async fn same_organisation(&self, caller: &Caller, input: &Input) -> Result<(), Problem> {
        if is_conditional(&input.headers) {
            let now = self.organisation(caller, input).await?;
            demand_same(&input.headers, &Organisation::from(now))?;
        }
        Ok(())
    }

    pub(crate) async fn rename_organisation(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let Rename { name: new } = input.json()?;
        let new = new.parse().map_err(|error| Problem::field("/name", format!("{error}")))?;
        self.same_organisation(caller, input).await?;
        let name = input.place("organisation")?;
        let renamed = self.0.engine.rename_organisation(caller, &name, &new).await?;
        Ok(Reply::json(&Organisation::from(renamed)))
    }

    pub(crate) async fn set_quota(&self, caller: &Caller, input: &Input) -> Result<Reply, Problem> {
        let Quota { quota_bytes } = input.json()?;
        let quota = bytes(quota_bytes)?;
        self.same_organisation(caller, input).await?;
        let set = self.0.engine.set_quota(caller, &input.place("organisation")?, quota).await?;
        Ok(Reply::json(&Organisation::from(set)))
    }

    pub(crate) async fn delete_organisation(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        self.same_organisation(caller, input).await?;
        let (name, force) = (input.place("organisation")?, input.flag("force"));
        self.0.engine.delete_organisation(caller, &name, force).await?;
        Ok(Reply::Empty)
    }

    pub(crate) async fn organisation_usage(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let tenancy::Usage { used_bytes, quota_bytes } =
            self.0.engine.usage(caller, &input.place("organisation")?).await?;
        Ok(Reply::json(&Usage { used_bytes, quota_bytes }))
    }

    pub(crate) async fn list_members(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (name, after) = (input.place("organisation")?, input.cursor()?);
        let page = self.0.engine.members(caller, &name, after.as_deref(), input.limit()).await?;
        Ok(Reply::page::<_, Member>(page))
    }

    /// A member that is there.
    async fn member(
        &self,
        caller: &Caller,
        organisation: &OrganisationName,
        principal: &PrincipalId,
    ) -> Result<Member, Problem> {
        let member = self.0.engine.member(caller, organisation, principal).await?;
        member.map(Member::from).ok_or_else(|| {
            Problem::new(Kind::NotFound, format!("{principal} is no member of {organisation}"))
        })
    }

    pub(crate) async fn invite_member(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let new: Invitation = input.json()?;
        let organisation = input.place("organisation")?;
        let who = self.somebody(&new.user, "/user").await?;
        let engine = &self.0.engine;
        let there = engine.member(caller, &organisation, &who).await?;
        if there.is_some_and(|member| member.role.is_some()) {
            let detail = format!("{who} is a member already; change the role they have");
            return Err(Problem::new(Kind::NameTaken, detail).at("/user"));
        }
        engine.set_role(caller, &organisation, &who, None, new.role.into()).await?;
        Ok(Reply::json(&self.member(caller, &organisation, &who).await?))
    }

    pub(crate) async fn get_member(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (organisation, who) = (input.place("organisation")?, principal(input)?);
        Ok(Reply::json(&self.member(caller, &organisation, &who).await?))
    }

    pub(crate) async fn set_member_role(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let SetRole { role } = input.json()?;
        let (organisation, who) = (input.place("organisation")?, principal(input)?);
        let member = self.member(caller, &organisation, &who).await?;
        demand_same(&input.headers, &member)?;
        self.0.engine.set_role(caller, &organisation, &who, None, role.into()).await?;
        Ok(Reply::json(&self.member(caller, &organisation, &who).await?))
    }

    pub(crate) async fn remove_member(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (organisation, who) = (input.place("organisation")?, principal(input)?);
        if caller.principal.as_str() != who.as_str() {
            let member = self.member(caller, &organisation, &who).await?;
            demand_same(&input.headers, &member)?;
        }
        self.0.engine.remove_role(caller, &organisation, &who, None).await?;
        Ok(Reply::Empty)
    }
}

/// The principal that the path names.
pub(crate) fn principal(input: &Input) -> Result<PrincipalId, Problem> {
    let id = PrincipalId::new(input.text("principal"));
    id.map_err(|error| Problem::new(Kind::BadRequest, format!("the path's principal: {error}")))
}
