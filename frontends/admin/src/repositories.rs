//! What is in a registry: repositories, tags, manifests and what refers to them.

use strongroom_engine::access::{Action, Caller};
use strongroom_engine::name::Reference;
use strongroom_engine::tenancy::RepositoryFilter;
use strongroom_engine::{Referrer as Referring, Repository};

use crate::Admin;
use crate::gate::path;
use crate::input::Input;
use crate::model::{self, Manifest, Referrer, Tag};
use crate::problem::Problem;
use crate::reply::Reply;

impl From<Referring> for Referrer {
    fn from(of: Referring) -> Self {
        Self {
            digest: of.digest.to_string(),
            media_type: of.media_type,
            artifact_type: of.artifact_type,
            size: of.size,
            annotations: of.annotations,
        }
    }
}

impl Admin {
    async fn open(
        &self,
        caller: &Caller,
        input: &Input,
        action: Action,
    ) -> Result<Repository, Problem> {
        Ok(self.0.engine.repository(caller, &path(input)?, action).await?)
    }

    pub(crate) async fn delete_tag(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let tag = input.place("tag")?;
        self.open(caller, input, Action::Delete).await?.delete_tag(&tag).await?;
        Ok(Reply::Empty)
    }

    pub(crate) async fn list_repositories(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (organisation, registry) = (input.place("organisation")?, input.place("registry")?);
        let text = |name| input.query(name).map(str::to_owned);
        let filter = RepositoryFilter { prefix: text("prefix"), contains: text("search") };
        let after = input.cursor()?;
        let listing = self.0.engine.listing(caller, &organisation, &registry).await?;
        let page = listing.infos(&filter, after.as_deref(), input.limit()).await?;
        Ok(Reply::page::<_, model::Repository>(page))
    }

    pub(crate) async fn delete_repository(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        self.0.engine.delete_repository(caller, &path(input)?).await?;
        Ok(Reply::Empty)
    }

    pub(crate) async fn list_tags(&self, caller: &Caller, input: &Input) -> Result<Reply, Problem> {
        let after = input.cursor()?;
        let repository = self.open(caller, input, Action::List).await?;
        let page = repository.tag_infos(after.as_deref(), input.limit()).await?;
        Ok(Reply::page::<_, Tag>(page))
    }

    pub(crate) async fn get_tag(&self, caller: &Caller, input: &Input) -> Result<Reply, Problem> {
        let tag = input.place("tag")?;
        let repository = self.open(caller, input, Action::List).await?;
        Ok(Reply::json(&Tag::from(repository.tag_info(&tag).await?)))
    }

    pub(crate) async fn list_manifests(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let after = input.cursor()?;
        let repository = self.open(caller, input, Action::List).await?;
        let page = repository.manifests(after.as_deref(), input.limit()).await?;
        Ok(Reply::page::<_, Manifest>(page))
    }

    pub(crate) async fn get_manifest(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let digest = Reference::Digest(input.place("digest")?);
        let repository = self.open(caller, input, Action::List).await?;
        Ok(Reply::json(&Manifest::from(repository.manifest_info(&digest).await?)))
    }

    pub(crate) async fn delete_manifest(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let digest = input.place("digest")?;
        self.open(caller, input, Action::Delete).await?.delete_manifest(&digest).await?;
        Ok(Reply::Empty)
    }

    pub(crate) async fn list_referrers(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (subject, from) = (input.place("digest")?, input.cursor()?);
        let repository = self.open(caller, input, Action::Pull).await?;
        let page = repository.referrers(&subject, None, from.as_deref(), input.limit()).await?;
        Ok(Reply::page::<_, Referrer>(page))
    }
}
