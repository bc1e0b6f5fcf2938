//! What the API takes and gives, as JSON. What is taken refuses fields that it does not know.

mod accounts;
mod python;
mod webhooks;
mod workloads;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strongroom_engine::access;
use strongroom_engine::manifest::ManifestKind;
use strongroom_engine::name::{OrganisationName, RegistryName};
use strongroom_engine::pattern::Pattern;
use strongroom_engine::retention::{self, RetentionRule};
use strongroom_engine::seam::Timestamp;
use strongroom_engine::{ManifestInfo, TagInfo, tenancy};
use utoipa::ToSchema;

pub(crate) use self::accounts::*;
pub(crate) use self::python::*;
pub(crate) use self::webhooks::*;
pub(crate) use self::workloads::*;

const NAME: &str = r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$";
const PATH: &str = r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$";
const USER: &str = "^[a-z0-9][a-z0-9._-]*$";

/// The largest number of bytes that may be set: every reader of JSON keeps it exactly.
pub(crate) const MAX_BYTES: u64 = 9_007_199_254_740_991;
/// The longest life of a token that may be asked for, in seconds: a hundred years.
pub(crate) const MAX_LIFE: u64 = 3_155_760_000;

/// What may stand in a path for a name of its template: a pattern, the most bytes, and what it is.
pub(crate) fn place(name: &str) -> (&'static str, usize, &'static str) {
    match name {
        "organisation" => (NAME, 64, "The organisation's name."),
        "registry" => (NAME, 64, "The registry's name in its organisation."),
        "repository" => {
            (PATH, 255, "The repository's name in its registry; its slashes are `%2F`.")
        }
        "tag" => ("^[a-zA-Z0-9_][a-zA-Z0-9._-]*$", 128, "The tag."),
        "digest" => ("^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$", 135, "The digest."),
        "principal" => ("^[!-~]+$", 256, "Who: `user:NAME` or `robot:NAME`."),
        "robot" => {
            (r"^[a-z0-9._-]+\+[a-z0-9][a-z0-9._-]*$", 129, "The robot: `ORGANISATION+NAME`.")
        }
        "user" => (USER, 64, "The user's name."),
        "token" => ("^[0-9a-f]{16}$", 16, "The token's id."),
        "project" => {
            ("^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", 128, "The Python project's name.")
        }
        "version" => (r"^[0-9A-Za-z.!+_-]+$", 128, "The version."),
        "file" => (r"^[!-~]+$", 255, "The file's name."),
        "job" => ("^[0-9a-f]{16}$", 16, "The job's id."),
        "webhook" => ("^[0-9a-f]{16}$", 16, "The webhook's id."),
        "rule" => ("^[0-9a-f]{16}$", 16, "The rule's id."),
        _ => ("^[!-~]+$", 256, "A name."),
    }
}

/// A moment, as RFC 3339 writes it.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = i64::try_from(self.0.0).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        serializer.collect_str(&at)
    }
}

/// Must be named, and may be null.
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Me {
    /// `user:NAME`, `robot:NAME`, or as another provider names them.
    pub(crate) principal: String,
    /// Whether they operate the installation, with these credentials.
    pub(crate) operator: bool,
    /// Whether the credentials have bounds of their own, as those of a token.
    pub(crate) bounded: bool,
}

/// An organisation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Organisation {
    /// What never changes about it.
    pub(crate) id: String,
    pub(crate) name: String,
    /// The most bytes it may store; no bound where null.
    pub(crate) quota_bytes: Option<u64>,
    pub(crate) created_at: Time,
}

impl From<tenancy::Organisation> for Organisation {
    fn from(of: tenancy::Organisation) -> Self {
        Self {
            id: of.id.to_string(),
            name: of.name.to_string(),
            quota_bytes: of.quota_bytes,
            created_at: Time(of.created_at),
        }
    }
}

/// An organisation to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrganisation {
    #[schema(value_type = String, pattern = r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$", max_length = 64)]
    pub(crate) name: OrganisationName,
    /// The most bytes it may store; no bound where absent.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
    pub(crate) quota_bytes: Option<u64>,
    /// Its first admin, by user name, e-mail address or principal; the caller where absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    pub(crate) admin: Option<String>,
}

/// Another name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rename {
    #[schema(pattern = r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$", max_length = 64)]
    pub(crate) name: String,
}

/// What an organisation may store.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quota {
    /// The most bytes; no bound where null.
    #[serde(deserialize_with = "named")]
    #[schema(required = true, minimum = 0, maximum = 9_007_199_254_740_991_u64)]
    pub(crate) quota_bytes: Option<u64>,
}

/// What an organisation stores.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// The bytes stored, each content once, and those reserved by uploads under way.
    pub(crate) used_bytes: u64,
    /// The most it may store; no bound where null.
    pub(crate) quota_bytes: Option<u64>,
}

/// What the repositories of a registry link.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegistryUsage {
    /// The bytes of all that is linked, each content once.
    pub(crate) linked_bytes: u64,
    /// How many different contents are linked.
    pub(crate) contents: u64,
}

/// What a member may do: list and pull; and push and delete; and manage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Viewer,
    Writer,
    Admin,
}

impl From<Role> for access::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Writer => Self::Writer,
            Role::Admin => Self::Admin,
        }
    }
}

impl From<access::Role> for Role {
    fn from(role: access::Role) -> Self {
        match role {
            access::Role::Viewer => Self::Viewer,
            access::Role::Writer => Self::Writer,
            access::Role::Admin => Self::Admin,
        }
    }
}

/// Somebody with a role in an organisation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Member {
    pub(crate) principal: String,
    /// The role in the whole organisation.
    pub(crate) role: Option<Role>,
    /// The roles in single registries; the higher of the two counts.
    pub(crate) registries: Vec<RegistryMember>,
    pub(crate) added_at: Time,
}

/// A role in one registry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegistryMember {
    /// The registry's id.
    pub(crate) registry: String,
    pub(crate) role: Role,
}

impl From<tenancy::Member> for Member {
    fn from(of: tenancy::Member) -> Self {
        let registries = of.registries.into_iter();
        let registries = registries
            .map(|(id, role)| RegistryMember { registry: id.to_string(), role: role.into() });
        Self {
            principal: of.principal.to_string(),
            role: of.role.map(Role::from),
            registries: registries.collect(),
            added_at: Time(of.added_at),
        }
    }
}

/// Somebody to be made a member.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invitation {
    /// A user's name, an e-mail address that the identity provider knows, or a principal.
    #[schema(min_length = 1, max_length = 256)]
    pub(crate) user: String,
    pub(crate) role: Role,
}

/// A role.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetRole {
    pub(crate) role: Role,
}

/// Somebody's role in a registry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegistryRole {
    pub(crate) principal: String,
    pub(crate) role: Role,
}

/// A registry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Registry {
    /// What never changes about it.
    pub(crate) id: String,
    pub(crate) name: String,
    /// Whether anybody may list and pull.
    pub(crate) public: bool,
    /// Whether a manifest may name what is not there.
    pub(crate) sparse_indexes: bool,
    /// Tags of these names, once set, neither move nor go.
    #[schema(value_type = Vec<String>)]
    pub(crate) immutable_tags: Vec<Pattern>,
    /// What expires.
    #[schema(value_type = Vec<RuleShape>)]
    pub(crate) retention: Vec<RetentionRule>,
    pub(crate) created_at: Time,
}

impl From<tenancy::Registry> for Registry {
    fn from(of: tenancy::Registry) -> Self {
        Self {
            id: of.id.to_string(),
            name: of.name.to_string(),
            public: of.settings.public,
            sparse_indexes: of.settings.sparse_indexes,
            immutable_tags: of.settings.immutable_tags,
            retention: of.settings.retention,
            created_at: Time(of.created_at),
        }
    }
}

/// A registry to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRegistry {
    #[schema(value_type = String, pattern = r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$", max_length = 64)]
    pub(crate) name: RegistryName,
    #[serde(default)]
    pub(crate) public: bool,
    #[serde(default)]
    pub(crate) sparse_indexes: bool,
    /// Tags of these names, once set, neither move nor go.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 32)]
    pub(crate) immutable_tags: Vec<Pattern>,
    /// What expires.
    #[serde(default)]
    #[schema(value_type = Vec<RuleShape>, max_items = 32)]
    pub(crate) retention: Vec<RetentionRule>,
}

/// Settings of a registry; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistryChange {
    #[serde(default)]
    pub(crate) public: Option<bool>,
    #[serde(default)]
    pub(crate) sparse_indexes: Option<bool>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>, max_items = 32)]
    pub(crate) immutable_tags: Option<Vec<Pattern>>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<RuleShape>>, max_items = 32)]
    pub(crate) retention: Option<Vec<RetentionRule>>,
}

/// A repository of a registry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Repository {
    /// What never changes about it.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created_at: Time,
}

impl From<tenancy::RepositoryInfo> for Repository {
    fn from(of: tenancy::RepositoryInfo) -> Self {
        Self { id: of.id.to_string(), name: of.name.to_string(), created_at: Time(of.created_at) }
    }
}

/// A tag of a repository.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names are those of the API")]
pub(crate) struct Tag {
    pub(crate) tag: String,
    /// What it points at.
    pub(crate) digest: String,
    pub(crate) media_type: String,
    /// The bytes of that manifest itself.
    pub(crate) size: u64,
    /// When the tag was set.
    pub(crate) set_at: Time,
    /// When the manifest was pushed first.
    pub(crate) pushed_at: Time,
    /// When the manifest was pulled last, to the hour, where that is known.
    pub(crate) pulled_at: Option<Time>,
    /// Whether the registry's settings keep it from moving and going.
    pub(crate) immutable: bool,
}

impl From<TagInfo> for Tag {
    fn from(of: TagInfo) -> Self {
        Self {
            tag: of.tag.to_string(),
            digest: of.digest.to_string(),
            media_type: of.media_type,
            size: of.size,
            set_at: Time(of.set_at),
            pushed_at: Time(of.pushed_at),
            pulled_at: of.pulled_at.map(Time),
            immutable: of.immutable,
        }
    }
}

/// Whether a manifest is of one thing, or an index of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    Image,
    Index,
}

/// A manifest of a repository.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Manifest {
    pub(crate) digest: String,
    pub(crate) media_type: String,
    pub(crate) kind: Form,
    pub(crate) artifact_type: Option<String>,
    /// The bytes of the manifest itself.
    pub(crate) size: u64,
    /// The bytes of all that it names, where they are known.
    pub(crate) content_bytes: Option<u64>,
    /// What the entries of an index run on.
    pub(crate) platforms: Vec<String>,
    /// The tags that point at it, at most 100.
    pub(crate) tags: Vec<String>,
    /// Whether more tags point at it than are told.
    pub(crate) more_tags: bool,
    /// What it refers to.
    pub(crate) subject: Option<String>,
    pub(crate) pushed_at: Time,
    /// When it was pulled last, to the hour, where that is known.
    pub(crate) pulled_at: Option<Time>,
}

impl From<ManifestInfo> for Manifest {
    fn from(of: ManifestInfo) -> Self {
        let kind = match of.kind {
            ManifestKind::OciImage | ManifestKind::DockerImage => Form::Image,
            ManifestKind::OciIndex | ManifestKind::DockerList => Form::Index,
        };
        Self {
            digest: of.digest.to_string(),
            media_type: of.media_type,
            kind,
            artifact_type: of.artifact_type,
            size: of.size,
            content_bytes: of.content_bytes,
            platforms: of.platforms,
            tags: of.tags.iter().map(ToString::to_string).collect(),
            more_tags: of.more_tags,
            subject: of.subject.as_ref().map(ToString::to_string),
            pushed_at: Time(of.pushed_at),
            pulled_at: of.pulled_at.map(Time),
        }
    }
}

/// A rule of what expires, as it is described; the engine's own type reads it.
#[derive(ToSchema)]
#[schema(as = RetentionRule)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "it is there to be described")]
pub(crate) enum RuleShape {
    Tags(TagRuleShape),
    Untagged(UntaggedRuleShape),
}

/// Which tags a rule is about, and which of those it keeps; at least one reason to keep.
#[derive(Default, ToSchema)]
#[schema(as = TagRule)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TagRuleShape {
    /// Only in repositories of these names.
    repositories: Option<String>,
    /// Only tags of these names.
    tags: Option<String>,
    /// Keep whatever it selects.
    keep_all: bool,
    /// Keep so many in each repository, those that were set last.
    keep_last: Option<u32>,
    /// Keep what was set within so many days.
    keep_pushed_days: Option<u32>,
    /// Keep what was pulled within so many days.
    keep_pulled_days: Option<u32>,
}

/// How long manifests without a tag stay.
#[derive(ToSchema)]
#[schema(as = UntaggedRule)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it is there to be described")]
pub(crate) struct UntaggedRuleShape {
    /// Only in repositories of these names.
    repositories: Option<String>,
    /// Keep what was pushed or pulled within so many days.
    keep_days: u32,
}

/// Rules to be tried.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRules {
    /// The rules; those that are set where null.
    #[serde(default)]
    #[schema(value_type = Option<Vec<RuleShape>>)]
    pub(crate) rules: Option<Vec<RetentionRule>>,
}

/// Something that expires.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Expiring {
    pub(crate) repository: String,
    /// The tag; null for a manifest that has none.
    pub(crate) tag: Option<String>,
    pub(crate) digest: String,
    /// Whether the manifest goes too.
    pub(crate) manifest_too: bool,
    /// Why, in words.
    pub(crate) why: String,
}

impl From<retention::Expiring> for Expiring {
    fn from(of: retention::Expiring) -> Self {
        Self {
            repository: of.repository.to_string(),
            tag: of.tag.as_ref().map(ToString::to_string),
            digest: of.digest.to_string(),
            manifest_too: of.manifest_too,
            why: of.why.clone(),
        }
    }
}

/// A manifest that refers to another.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Referrer {
    pub(crate) digest: String,
    pub(crate) media_type: String,
    pub(crate) artifact_type: Option<String>,
    /// The bytes of the manifest itself.
    pub(crate) size: u64,
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
}
