//! What is in a registry: repositories, tags, manifests and what refers to them.

use strongroom_engine::access::{Action, Caller};
use strongroom_engine::name::Reference;
use strongroom_engine::{Referrer as Referring, Repository};

use crate::Admin;
use crate::gate::path;
use crate::input::Input;
use crate::model::{Manifest, Referrer, Time};
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

    pub(crate) async fn get_manifest(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let digest = Reference::Digest(input.place("digest")?);
        let repository = self.open(caller, input, Action::Pull).await?;
        let manifest = repository.stat_manifest(&digest).await?;
        Ok(Reply::json(&Manifest {
            digest: manifest.digest.to_string(),
            media_type: manifest.media_type.to_string(),
            artifact_type: manifest.artifact_type.clone(),
            size: manifest.bytes.len() as u64,
            subject: manifest.subject.as_ref().map(ToString::to_string),
            pushed_at: Time(manifest.pushed_at),
        }))
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
