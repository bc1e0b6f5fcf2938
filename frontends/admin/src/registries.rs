//! Registries: their settings, and the roles in one of them.

use strongroom_engine::access::Caller;
use strongroom_engine::name::{OrganisationName, RegistryName};
use strongroom_engine::tenancy::{self, RegistrySettings};

use crate::Admin;
use crate::input::Input;
use crate::model::{
    Expiring, NewRegistry, NewRules, Registry, RegistryChange, RegistryRole, RegistryUsage, Rename,
    SetRole,
};
use crate::organisations::principal;
use crate::problem::{Kind, Problem};
use crate::reply::{Reply, demand_same, is_conditional};

impl Admin {
    pub(crate) async fn list_registries(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (name, after) = (input.place("organisation")?, input.cursor()?);
        let page = self.0.engine.registries(caller, &name, after.as_deref(), input.limit()).await?;
        Ok(Reply::page::<_, Registry>(page))
    }

    pub(crate) async fn create_registry(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let new: NewRegistry = input.json()?;
        let settings = RegistrySettings {
            public: new.public,
            sparse_indexes: new.sparse_indexes,
            immutable_tags: new.immutable_tags,
            retention: new.retention,
        };
        let organisation = input.place("organisation")?;
        let made = self.0.engine.create_registry(caller, &organisation, &new.name, settings).await;
        let made = made.map_err(|error| Problem::from(error).at("/name"))?;
        Ok(Reply::json(&Registry::from(made)))
    }

    async fn registry(&self, caller: &Caller, input: &Input) -> Result<tenancy::Registry, Problem> {
        let (organisation, registry) = names(input)?;
        Ok(self.0.engine.registry(caller, &organisation, &registry).await?)
    }

    /// The registry, where it is what the request is for.
    async fn same_registry(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<tenancy::Registry, Problem> {
        let now = self.registry(caller, input).await?;
        if is_conditional(&input.headers) {
            demand_same(&input.headers, &Registry::from(now.clone()))?;
        }
        Ok(now)
    }

    pub(crate) async fn get_registry(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        Ok(Reply::json(&Registry::from(self.registry(caller, input).await?)))
    }

    pub(crate) async fn update_registry(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let change: RegistryChange = input.json()?;
        let (organisation, registry) = names(input)?;
        let now = self.same_registry(caller, input).await?;
        let mut settings = now.settings;
        settings.public = change.public.unwrap_or(settings.public);
        settings.sparse_indexes = change.sparse_indexes.unwrap_or(settings.sparse_indexes);
        if let Some(tags) = change.immutable_tags {
            settings.immutable_tags = tags;
        }
        if let Some(rules) = change.retention {
            settings.retention = rules;
        }
        // What was not named stays as it is now, not as it was when it was read.
        let expected = Some(now.version.as_str());
        let engine = &self.0.engine;
        let set =
            engine.set_registry(caller, &organisation, &registry, &settings, expected).await?;
        Ok(Reply::json(&Registry::from(set)))
    }

    pub(crate) async fn preview_retention(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let NewRules { rules } = input.json()?;
        let ((organisation, registry), after) = (names(input)?, input.cursor()?);
        let (engine, after, limit) = (&self.0.engine, after.as_deref(), input.limit());
        let plan = engine
            .plan_retention(caller, &organisation, &registry, rules.as_deref(), after, limit)
            .await?;
        Ok(Reply::page::<_, Expiring>(plan))
    }

    pub(crate) async fn rename_registry(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let Rename { name: new } = input.json()?;
        let new = new.parse().map_err(|error| Problem::field("/name", format!("{error}")))?;
        self.same_registry(caller, input).await?;
        let (organisation, registry) = names(input)?;
        let renamed = self.0.engine.rename_registry(caller, &organisation, &registry, &new).await?;
        Ok(Reply::json(&Registry::from(renamed)))
    }

    pub(crate) async fn delete_registry(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        self.same_registry(caller, input).await?;
        let ((organisation, registry), force) = (names(input)?, input.flag("force"));
        self.0.engine.delete_registry(caller, &organisation, &registry, force).await?;
        Ok(Reply::Empty)
    }

    pub(crate) async fn registry_usage(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (organisation, registry) = names(input)?;
        let tenancy::RegistryUsage { linked_bytes, contents } =
            self.0.engine.registry_usage(caller, &organisation, &registry).await?;
        Ok(Reply::json(&RegistryUsage { linked_bytes, contents }))
    }

    pub(crate) async fn set_registry_role(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let SetRole { role } = input.json()?;
        let ((organisation, registry), who) = (names(input)?, principal(input)?);
        if !self.0.identity.find(who.as_str()).await?.contains(&who) {
            let detail = format!("{who} has no account here");
            return Err(Problem::new(Kind::NotFound, detail));
        }
        let engine = &self.0.engine;
        engine.set_role(caller, &organisation, &who, Some(&registry), role.into()).await?;
        Ok(Reply::json(&RegistryRole { principal: who.to_string(), role }))
    }

    pub(crate) async fn remove_registry_role(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let ((organisation, registry), who) = (names(input)?, principal(input)?);
        self.0.engine.remove_role(caller, &organisation, &who, Some(&registry)).await?;
        Ok(Reply::Empty)
    }
}

/// The registry that a path names.
pub(crate) fn names(input: &Input) -> Result<(OrganisationName, RegistryName), Problem> {
    Ok((input.place("organisation")?, input.place("registry")?))
}
