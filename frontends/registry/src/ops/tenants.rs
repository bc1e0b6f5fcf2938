//! Verbs on organisations, their members and their registries.

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_engine::access::PrincipalId;
use strongroom_engine::name::{OrganisationName, RegistryName};
use strongroom_engine::tenancy::{Organisation, Registry, RegistrySettings};

use super::Outcome;
use super::args::{Patterns, Place, RegistryPath, Role, principal};
use super::retention::{self, RetentionVerb};
use super::table::{size, table, time};
use crate::app::{App, console};
use crate::config::Size;
use crate::failure::Failure;

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum OrganisationVerb {
    /// Create an organisation
    Create {
        name: OrganisationName,
        /// Its first admin: user:NAME
        #[arg(long, value_parser = principal)]
        admin: PrincipalId,
        /// The most it may store, as 20GB; unbounded where absent
        #[arg(long)]
        quota: Option<Size>,
    },
    /// List all organisations
    List,
    /// Give it another name; the old one stays reserved for it
    Rename { name: OrganisationName, new: OrganisationName },
    /// Set the most it may store
    Quota {
        name: OrganisationName,
        /// As 20GB; unbounded where absent
        quota: Option<Size>,
    },
    /// Delete it for ever; the name stays reserved
    Delete {
        name: OrganisationName,
        /// Also when there is something in it
        #[arg(long)]
        force: bool,
    },
    /// List its members
    Members { name: OrganisationName },
    /// Give somebody a role in an organisation, or in one registry of it
    Grant {
        /// ORGANISATION, or ORGANISATION/REGISTRY
        place: Place,
        /// Who: user:NAME or robot:NAME
        #[arg(value_parser = principal)]
        who: PrincipalId,
        /// Which
        #[arg(value_enum)]
        role: Role,
    },
    /// Take somebody's role away
    Ungrant {
        /// ORGANISATION, or ORGANISATION/REGISTRY
        place: Place,
        /// Who: user:NAME or robot:NAME
        #[arg(value_parser = principal)]
        who: PrincipalId,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum RegistryVerb {
    /// Create a registry
    Create {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        /// Let anybody list and pull
        #[arg(long)]
        public: bool,
        /// Let an index name manifests that are not there
        #[arg(long)]
        sparse_indexes: bool,
    },
    /// List the registries of an organisation
    List { organisation: OrganisationName },
    /// Change settings; what is not named stays
    Set {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        /// Whether anybody may list and pull
        #[arg(long)]
        public: Option<bool>,
        /// Whether an index may name manifests that are not there
        #[arg(long)]
        sparse_indexes: Option<bool>,
        /// Tags that once set neither move nor go: patterns as v*,release-?; none where empty
        #[arg(long, value_name = "PATTERNS")]
        immutable_tags: Option<Patterns>,
    },
    /// Say what expires, see what would, and let it go
    #[command(subcommand)]
    Retention(RetentionVerb),
    /// Give it another name; the old one stays reserved for it
    Rename {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        new: RegistryName,
    },
    /// Delete it for ever; the name stays reserved
    Delete {
        /// ORGANISATION/REGISTRY
        path: RegistryPath,
        /// Also when there is something in it
        #[arg(long)]
        force: bool,
    },
}

/// How many things are read at once.
pub(super) const PAGE: usize = 500;

pub(super) async fn organisation(app: &App, verb: OrganisationVerb) -> Result<Outcome, Failure> {
    let (by, engine) = (console(), &app.engine);
    match verb {
        OrganisationVerb::Create { name, admin, quota } => {
            let quota = quota.map(Size::bytes);
            let made = engine.create_organisation(&by, &name, quota, Some(&admin)).await?;
            Ok(Outcome::new(format!("{name} is created\n"), organisation_json(&made)))
        }
        OrganisationVerb::List => organisations(app).await,
        OrganisationVerb::Rename { name, new } => {
            let renamed = engine.rename_organisation(&by, &name, &new).await?;
            Ok(Outcome::new(format!("{name} is {new} now\n"), organisation_json(&renamed)))
        }
        OrganisationVerb::Quota { name, quota } => {
            let set = engine.set_quota(&by, &name, quota.map(Size::bytes)).await?;
            let text = match quota {
                Some(quota) => format!("{name} may store {quota}\n"),
                None => format!("{name} may store as much as there is room\n"),
            };
            Ok(Outcome::new(text, organisation_json(&set)))
        }
        OrganisationVerb::Delete { name, force } => {
            engine.delete_organisation(&by, &name, force).await?;
            Ok(Outcome::new(format!("{name} is deleted\n"), json!({ "deleted": name })))
        }
        OrganisationVerb::Members { name } => members(app, &name).await,
        OrganisationVerb::Grant { place, who, role } => {
            let registry = member_place(&place)?;
            engine.set_role(&by, &place.organisation, &who, registry, role.into()).await?;
            let json = json!({ "place": place, "principal": who, "role": role });
            let role = serde_json::to_value(role).unwrap_or_default();
            let role = role.as_str().unwrap_or_default();
            Ok(Outcome::new(format!("{who} is {role} of {place}\n"), json))
        }
        OrganisationVerb::Ungrant { place, who } => {
            let registry = member_place(&place)?;
            engine.remove_role(&by, &place.organisation, &who, registry).await?;
            let json = json!({ "place": place, "principal": who });
            Ok(Outcome::new(format!("{who} has no role of {place}\n"), json))
        }
    }
}

/// A role counts in an organisation or a registry, not below.
fn member_place(place: &Place) -> Result<Option<&RegistryName>, Failure> {
    if place.repository.is_some() {
        return Err(Failure::usage("roles are given for an organisation or a registry"));
    }
    Ok(place.registry.as_ref())
}

async fn organisations(app: &App) -> Result<Outcome, Failure> {
    let mut all: Vec<Value> = Vec::new();
    let mut rows = Vec::new();
    for organisation in every_organisation(app).await? {
        let usage = app.engine.usage(&console(), &organisation.name).await?;
        let quota = organisation.quota_bytes.map_or_else(|| "-".to_owned(), size);
        let name = organisation.name.to_string();
        rows.push(vec![name, size(usage.used_bytes), quota, time(organisation.created_at)]);
        let mut json = organisation_json(&organisation);
        if let Some(fields) = json.as_object_mut() {
            fields.insert("used_bytes".to_owned(), usage.used_bytes.into());
        }
        all.push(json);
    }
    Ok(Outcome::new(table(&["NAME", "USED", "QUOTA", "CREATED"], &rows), all.into()))
}

/// All organisations, in the order of their names.
pub(super) async fn every_organisation(app: &App) -> Result<Vec<Organisation>, Failure> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = app.engine.organisations(&console(), after.as_deref(), PAGE).await?;
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

fn organisation_json(organisation: &Organisation) -> Value {
    json!({
        "id": organisation.id,
        "name": organisation.name,
        "quota_bytes": organisation.quota_bytes,
        "created_at": time(organisation.created_at),
    })
}

async fn members(app: &App, name: &OrganisationName) -> Result<Outcome, Failure> {
    let (mut all, mut rows): (Vec<Value>, Vec<_>) = (Vec::new(), Vec::new());
    let mut after = None;
    loop {
        let page = app.engine.members(&console(), name, after.as_deref(), PAGE).await?;
        for member in page.items {
            let role = serde_json::to_value(member.role).unwrap_or_default();
            let registries = json!(
                member
                    .registries
                    .iter()
                    .map(|(id, role)| (id.to_string(), json!(role)))
                    .collect::<serde_json::Map<_, _>>()
            );
            rows.push(vec![
                member.principal.to_string(),
                role.as_str().unwrap_or("-").to_owned(),
                member.registries.len().to_string(),
                time(member.added_at),
            ]);
            all.push(json!({
                "principal": member.principal,
                "role": role,
                "registries": registries,
                "added_at": time(member.added_at),
            }));
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let text = table(&["PRINCIPAL", "ROLE", "REGISTRIES", "SINCE"], &rows);
    Ok(Outcome::new(text, all.into()))
}

pub(super) async fn registry(app: &App, verb: RegistryVerb) -> Result<Outcome, Failure> {
    let (by, engine) = (console(), &app.engine);
    match verb {
        RegistryVerb::Create { path, public, sparse_indexes } => {
            let settings =
                RegistrySettings { public, sparse_indexes, ..RegistrySettings::default() };
            let RegistryPath { organisation, registry } = &path;
            let made = engine.create_registry(&by, organisation, registry, settings).await?;
            Ok(Outcome::new(format!("{path} is created\n"), registry_json(&made)))
        }
        RegistryVerb::List { organisation } => registries(app, &organisation).await,
        RegistryVerb::Set { path, public, sparse_indexes, immutable_tags } => {
            let RegistryPath { organisation, registry } = &path;
            let seen = engine.registry(&by, organisation, registry).await?;
            let (mut settings, version) = (seen.settings, Some(seen.version.as_str()));
            if let Some(Patterns(patterns)) = immutable_tags {
                settings.immutable_tags = patterns;
            }
            settings.public = public.unwrap_or(settings.public);
            settings.sparse_indexes = sparse_indexes.unwrap_or(settings.sparse_indexes);
            let set = engine.set_registry(&by, organisation, registry, &settings, version).await?;
            let public = if settings.public { "public" } else { "private" };
            Ok(Outcome::new(format!("{path} is {public}\n"), registry_json(&set)))
        }
        RegistryVerb::Retention(verb) => retention::retention(app, verb).await,
        RegistryVerb::Rename { path, new } => {
            let RegistryPath { organisation, registry } = &path;
            let renamed = engine.rename_registry(&by, organisation, registry, &new).await?;
            let text = format!("{path} is {organisation}/{new} now\n");
            Ok(Outcome::new(text, registry_json(&renamed)))
        }
        RegistryVerb::Delete { path, force } => {
            let RegistryPath { organisation, registry } = &path;
            engine.delete_registry(&by, organisation, registry, force).await?;
            Ok(Outcome::new(format!("{path} is deleted\n"), json!({ "deleted": path })))
        }
    }
}

async fn registries(app: &App, organisation: &OrganisationName) -> Result<Outcome, Failure> {
    let (mut all, mut rows) = (Vec::new(), Vec::new());
    let mut after = None;
    loop {
        let page = app.engine.registries(&console(), organisation, after.as_deref(), PAGE).await?;
        for registry in page.items {
            let public = if registry.settings.public { "public" } else { "private" };
            let name = format!("{organisation}/{}", registry.name);
            rows.push(vec![name, public.to_owned(), time(registry.created_at)]);
            all.push(registry_json(&registry));
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(Outcome::new(table(&["NAME", "WHO PULLS", "CREATED"], &rows), all.into()))
}

pub(super) fn registry_json(registry: &Registry) -> Value {
    json!({
        "id": registry.id,
        "name": registry.name,
        "public": registry.settings.public,
        "sparse_indexes": registry.settings.sparse_indexes,
        "immutable_tags": registry.settings.immutable_tags,
        "retention": registry.settings.retention,
        "version": registry.version,
        "created_at": time(registry.created_at),
    })
}
