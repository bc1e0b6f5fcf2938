//! What admins and operators do: roles, settings, scrubs.

use bytes::Bytes;
use strongroom_engine::Error;
use strongroom_engine::access::{Action, PrincipalId};
use strongroom_engine::gc::ScrubOptions;
use strongroom_engine::retention::{RetentionRule, TagRule};
use strongroom_engine::tenancy::RegistrySettings;

use super::drive::{ADMINS, ORGANISATIONS, OTHERS, World};
use super::ops::{Roles, Rules};
use super::reference::Told;
use super::tenants::IMMUTABLE;
use crate::support;

impl World {
    pub(super) async fn set_role(&self, organisation: usize, roles: Roles) -> Result<Told, Error> {
        let (admin, name) = (support::caller(ADMINS[organisation]), ORGANISATIONS[organisation]);
        let (name, main) = (name.parse().unwrap(), "main".parse().unwrap());
        let who = PrincipalId::new(format!("user:{}", OTHERS[roles.who])).unwrap();
        let registry = roles.in_registry.then_some(&main);
        let engine = self.engine();
        match roles.role {
            Some(role) => engine.set_role(&admin, &name, &who, registry, role).await?,
            None => engine.remove_role(&admin, &name, &who, registry).await?,
        }
        Ok(Told::Done)
    }

    pub(super) async fn set_rules(&self, organisation: usize, rules: Rules) -> Result<Told, Error> {
        let (admin, name) = (support::caller(ADMINS[organisation]), ORGANISATIONS[organisation]);
        let (name, main) = (name.parse().unwrap(), "main".parse().unwrap());
        let expiring = TagRule { keep_pushed_days: Some(1), ..TagRule::default() };
        let settings = RegistrySettings {
            immutable_tags: rules
                .immutable
                .then(|| IMMUTABLE.parse().unwrap())
                .into_iter()
                .collect(),
            retention: rules
                .expiring
                .then_some(RetentionRule::Tags(expiring))
                .into_iter()
                .collect(),
            ..RegistrySettings::default()
        };
        self.engine().set_registry(&admin, &name, &main, &settings, None).await?;
        Ok(Told::Done)
    }

    /// Reads all; says how many pieces are wrong, where nothing else is.
    pub(super) async fn scrub(&self) -> Result<Result<u64, Told>, Error> {
        let report = self.engine().scrub(&ScrubOptions::default(), &|_| {}).await?;
        if (report.quarantined.count, report.unread.count) == (0, 0) {
            Ok(Ok(report.wrong))
        } else {
            Ok(Err(Told::Other(format!("{report:?}"))))
        }
    }

    pub(super) async fn rot(&self, organisation: usize, thing: usize) -> Result<Told, Error> {
        let thing = &self.things[thing];
        // Before it is asked for, which would renew its leases.
        if thing.size() == 0 {
            return Ok(Told::Done);
        }
        let mut holding = Vec::new();
        for at in organisation * 2..organisation * 2 + 2 {
            match self.open(at, Action::Pull).await?.stat_blob(&thing.digest).await {
                Ok(_) => holding.push(at),
                Err(Error::BlobUnknown { .. } | Error::NameUnknown { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if holding.is_empty() {
            return Ok(Told::Done);
        }
        let (operator, name) = (support::operator(), ORGANISATIONS[organisation].parse().unwrap());
        let (engine, blobs) = (self.engine(), self.blobs());
        let found = engine.organisation(&operator, &name).await?;
        let (domain, hex) = (format!("{}/", found.id), thing.digest.hex());
        for entry in support::gc::objects(&*blobs).await {
            let key = entry.key.as_str();
            // What is under way lies under its digest too, where that was said: it is no content yet.
            let started =
                self.started.lock().unwrap().iter().any(|id| key.contains(&id.to_string()));
            if key.starts_with(&domain) && key.contains(&hex) && !started {
                let mut bytes = thing.bytes.to_vec();
                bytes[0] ^= 1;
                blobs.delete(&entry.key).await?;
                blobs.put(&entry.key, Bytes::from(bytes)).await?;
            }
        }
        // One of these is the content, unless that is of an upload that was started by itself; the rest is
        // left over.
        let wrong = match self.scrub().await? {
            Ok(wrong @ 0..=1) => wrong,
            Ok(wrong) => return Ok(Told::Other(format!("{wrong} pieces are wrong"))),
            Err(told) => return Ok(told),
        };
        let hidden = self.open(holding[0], Action::Pull).await?.stat_blob(&thing.digest).await;
        if matches!(hidden, Err(Error::BlobUnknown { .. })) != (wrong == 1) {
            return Ok(Told::Other(format!("{wrong} are wrong, and it answers {hidden:?}")));
        }
        let quota = found.quota_bytes;
        engine.set_quota(&operator, &name, None).await?;
        for at in &holding {
            let repository = self.open(*at, Action::Push).await?;
            repository
                .push_blob(&thing.digest, Some(thing.size()), support::body(&thing.bytes))
                .await?;
        }
        engine.set_quota(&operator, &name, quota).await?;
        Ok(Told::Done)
    }
}
