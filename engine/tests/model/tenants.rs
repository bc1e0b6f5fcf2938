//! What the reference says of members, settings, retention, and the lines of the trail.

use std::collections::BTreeMap;

use strongroom_engine::access::Role;

use super::drive::tag;
use super::ops::{Roles, Rules};
use super::reference::{Model, Told};

const DAY: u64 = 24 * super::reference::HOUR;
/// The pattern of the immutable tags, where they are.
pub const IMMUTABLE: &str = "v1*";

/// The kinds of lines that are counted: each thing that was done leaves exactly one.
pub const KINDS: [&str; 8] = [
    "blob_pushed",
    "blob_deleted",
    "manifest_pushed",
    "manifest_deleted",
    "tag_deleted",
    "member_set",
    "registry_changed",
    "quota_changed",
];

/// Members beside the admin and the viewer, and what else an organisation's people are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenant {
    /// By person: the role in the organisation, and the one in the registry.
    pub members: BTreeMap<usize, (Option<Role>, Option<Role>)>,
    pub rules: Rules,
    /// How many lines of each kind there are.
    pub lines: BTreeMap<&'static str, u64>,
}

impl Model {
    /// Notes a line in the trail of an organisation.
    pub fn line(&mut self, organisation: usize, kind: &'static str) {
        *self.tenants[organisation].lines.entry(kind).or_default() += 1;
    }

    pub fn set_role(&mut self, organisation: usize, roles: Roles) -> Told {
        let members = &mut self.tenants[organisation].members;
        let before = members.get(&roles.who).copied().unwrap_or_default();
        let after = match (roles.in_registry, roles.role) {
            (true, role) => (before.0, role),
            (false, Some(role)) => (Some(role), before.1),
            // Who loses the role in the organisation loses all.
            (false, None) => (None, None),
        };
        members.insert(roles.who, after);
        if after == (None, None) {
            members.remove(&roles.who);
        }
        if after != before {
            self.line(organisation, "member_set");
        }
        Told::Done
    }

    pub fn set_rules(&mut self, organisation: usize, rules: Rules) -> Told {
        if std::mem::replace(&mut self.tenants[organisation].rules, rules) != rules {
            self.line(organisation, "registry_changed");
        }
        Told::Done
    }

    pub fn set_quota(&mut self, organisation: usize, bytes: Option<u64>) -> Told {
        if std::mem::replace(&mut self.quota[organisation], bytes) != bytes {
            self.line(organisation, "quota_changed");
        }
        Told::Done
    }

    /// Content rots, is found, and is pushed again wherever it is.
    pub fn rot(&mut self, organisation: usize, thing: usize) -> Told {
        let holding: Vec<_> = (organisation * 2..organisation * 2 + 2)
            .filter(|at| self.has_blob(*at, thing))
            .collect();
        if !holding.is_empty() && self.things[thing].size() > 0 {
            // So that there is room to push it.
            let quota = self.quota[organisation];
            self.set_quota(organisation, None);
            for at in holding {
                self.link_blob(at, thing);
                self.line(organisation, "blob_pushed");
            }
            self.set_quota(organisation, quota);
        }
        Told::Done
    }

    pub fn has_blob(&self, at: usize, thing: usize) -> bool {
        let repo = self.repos[at].as_ref();
        repo.is_some_and(|repo| repo.links.get(&thing).is_some_and(|link| link.blob))
    }

    /// Whether the settings keep a tag where it is.
    pub fn is_immutable(&self, repo: usize, number: u8) -> bool {
        self.tenants[repo / 2].rules.immutable && tag(number).starts_with("v1")
    }

    /// Whether an immutable tag points at a thing.
    pub fn is_held(&self, repo: usize, thing: usize) -> bool {
        let found = self.repos[repo].as_ref();
        let mut tags = found.into_iter().flat_map(|repo| &repo.tags);
        tags.any(|(number, (tagged, _))| *tagged == thing && self.is_immutable(repo, *number))
    }

    /// Removes what the rules let go, which a collection does first.
    pub fn expire(&mut self) {
        for at in 0..4 {
            let Some(repo) = self.repos[at].clone() else { continue };
            if !self.tenants[at / 2].rules.expiring {
                continue;
            }
            let mut tags: Vec<_> = repo.tags.keys().copied().collect();
            tags.sort_by_key(|number| tag(*number));
            // All is decided first, and then done one by one, where it still holds.
            let decided: Vec<_> = tags
                .into_iter()
                .filter(|number| self.expires(at, *number))
                .map(|number| {
                    let thing = repo.tags[&number].0;
                    (number, thing, self.all_expire(at, thing) && !self.named(at, thing))
                })
                .collect();
            for (number, thing, manifest_too) in decided {
                let tagged = self.is_tagged(at, thing);
                if manifest_too && tagged && self.all_expire(at, thing) && !self.named(at, thing) {
                    self.remove_manifest(at, thing);
                    self.remove_referrers(at, thing);
                } else if self.repos[at].as_mut().is_some_and(|r| r.tags.remove(&number).is_some())
                {
                    self.line(at / 2, "tag_deleted");
                }
            }
        }
    }

    fn expires(&self, at: usize, number: u8) -> bool {
        let Some((_, set)) = self.repos[at].as_ref().and_then(|repo| repo.tags.get(&number)) else {
            return false;
        };
        !self.is_immutable(at, number) && set + DAY <= self.now
    }

    fn is_tagged(&self, at: usize, thing: usize) -> bool {
        let found = self.repos[at].as_ref();
        found.is_some_and(|repo| repo.tags.values().any(|(tagged, _)| *tagged == thing))
    }

    fn all_expire(&self, at: usize, thing: usize) -> bool {
        let found = self.repos[at].as_ref();
        let mut tags = found.into_iter().flat_map(|repo| &repo.tags);
        tags.all(|(number, (tagged, _))| *tagged != thing || self.expires(at, *number))
    }

    /// Removes a manifest with its tags.
    pub fn remove_manifest(&mut self, at: usize, thing: usize) {
        let (inline, size) = (self.things[thing].inline(), self.things[thing].size());
        let Some(repo) = self.repos[at].as_mut() else { return };
        let Some(link) = repo.links.get_mut(&thing) else { return };
        link.manifest = false;
        if !link.blob {
            repo.links.remove(&thing);
        }
        repo.tags.retain(|_, (tagged, _)| *tagged != thing);
        if inline {
            self.used[at / 2] -= size;
        }
        self.line(at / 2, "manifest_deleted");
    }

    /// What refers to a thing goes along where it has no tag and no index names it.
    fn remove_referrers(&mut self, at: usize, subject: usize) {
        for thing in 0..self.things.len() {
            let here = self.repos[at].as_ref().and_then(|repo| repo.links.get(&thing));
            let refers = self.things[thing].subject == Some(subject);
            if refers
                && here.is_some_and(|link| link.manifest)
                && !self.is_tagged(at, thing)
                && !self.named(at, thing)
            {
                self.remove_manifest(at, thing);
                self.remove_referrers(at, thing);
            }
        }
    }
}
