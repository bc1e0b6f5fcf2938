//! The key layout: the one place that knows where a row or an object lies.
//!
//! The page `docs/architecture.md` shows the whole table. All integers are big-endian, so that the
//! order of keys is the order of numbers. What one push writes lies side by side: a commit costs
//! what leaf pages it touches, not how many keys.

use crate::content::ObjectKey;
use crate::digest::Digest;
use crate::id::{ChainId, Number, OrganisationId, RegistryId, RepositoryId, SessionId};
use crate::meta::Key;

/// The store's version.
pub(crate) const FORMAT: &[u8] = b"!format";
/// Where a collection was stopped: a hint for the next one.
pub(crate) const COLLECTION: &[u8] = b"!collection";
/// Before the organisation and the chain: how much of it is sealed.
const SEALED: &[u8] = b"!sealed";
/// Who collects, where several processes could.
pub(crate) const COLLECTOR: &[u8] = b"!collector";
/// Whose turn it is to have what was deleted of it removed; before an organisation, where that stands.
pub(crate) const PURGE: &[u8] = b"!purge";
/// What keeps the collector from objects that backups need.
pub(crate) const PINS: &[u8] = b"!pins";
/// A restore or a copy that is under way: there is no installation here yet.
pub(crate) const FILLING: &[u8] = b"!filling";

/// Before a chain: its process has the installation open, where several could.
pub(crate) const OPEN: &[u8] = b"!open";

/// The row of the process that writes `chain`.
pub(crate) fn open(chain: ChainId) -> Key {
    Build(OPEN.to_vec()).number(chain.0).0
}

/// Where the removal of something of this organisation stands.
pub(crate) fn purge(organisation: OrganisationId) -> Key {
    Build(PURGE.to_vec()).number(organisation.0).0
}

/// Whose row that is.
pub(crate) fn parse_open(key: &[u8]) -> Option<ChainId> {
    let chain = key.strip_prefix(OPEN)?.try_into().ok()?;
    Some(ChainId(u64::from_be_bytes(chain)))
}

/// The rows that belong to this store and not to the installation in it: no backup carries them.
pub(crate) fn own() -> Key {
    vec![b'!']
}

/// Where a scrub of the `n`th of `of` shares was stopped, of one organisation or, for 0, of all.
pub(crate) fn scrub(organisation: OrganisationId, n: u32, of: u32) -> Key {
    Build(b"!scrub".to_vec()).number(organisation.0).number(u64::from(n) << 32 | u64::from(of)).0
}

/// Where a run over the retention rules was stopped.
pub(crate) const RETENTION: &[u8] = b"!retention";

/// Which epoch of the blob store the metadata are of.
pub(crate) const EPOCH: &[u8] = b"!epoch";

struct Build(Key);

impl Build {
    fn organisation(organisation: OrganisationId, kind: u8) -> Self {
        let mut key = Vec::with_capacity(64);
        key.push(b'o');
        key.extend_from_slice(&organisation.0.to_be_bytes());
        key.push(kind);
        Self(key)
    }

    fn repository(organisation: OrganisationId, repository: RepositoryId, kind: u8) -> Self {
        Self::organisation(organisation, b'r').number(repository.0).byte(kind)
    }

    fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// An organisation's name → its id.
pub(crate) fn organisation_name(name: &str) -> Key {
    Build(vec![b'n']).bytes(name.as_bytes()).0
}

/// All names of organisations.
pub(crate) fn organisation_names() -> Key {
    vec![b'n']
}

/// An organisation's record.
pub(crate) fn organisation(organisation: OrganisationId) -> Key {
    Build::organisation(organisation, b'a').0
}

/// All rows of all organisations.
pub(crate) fn organisations() -> Key {
    vec![b'o']
}

/// All rows of one organisation.
pub(crate) fn organisation_rows(organisation: OrganisationId) -> Key {
    Build(vec![b'o']).number(organisation.0).0
}

/// The counter of an organisation's stored and reserved bytes.
pub(crate) fn usage(organisation: OrganisationId) -> Key {
    Build::organisation(organisation, b'c').0
}

/// A registry's record.
pub(crate) fn registry(organisation: OrganisationId, registry: RegistryId) -> Key {
    Build::organisation(organisation, b'g').number(registry.0).0
}

/// All registry records of an organisation.
pub(crate) fn registries(organisation: OrganisationId) -> Key {
    Build::organisation(organisation, b'g').0
}

/// A registry's name → its id.
pub(crate) fn registry_name(organisation: OrganisationId, name: &str) -> Key {
    Build::organisation(organisation, b'h').bytes(name.as_bytes()).0
}

/// All names of an organisation's registries.
pub(crate) fn registry_names(organisation: OrganisationId) -> Key {
    Build::organisation(organisation, b'h').0
}

/// A member's roles.
pub(crate) fn member(organisation: OrganisationId, principal: &str) -> Key {
    Build::organisation(organisation, b'm').bytes(principal.as_bytes()).0
}

/// All members of an organisation.
pub(crate) fn members(organisation: OrganisationId) -> Key {
    Build::organisation(organisation, b'm').0
}

/// The organisations that a principal is a member of. The zero byte ends the principal, so that
/// no principal's rows lie among another's.
pub(crate) fn memberships(principal: &str) -> Key {
    Build(vec![b'p']).bytes(principal.as_bytes()).byte(0).0
}

/// One membership of a principal.
pub(crate) fn membership(principal: &str, organisation: OrganisationId) -> Key {
    Build(memberships(principal)).number(organisation.0).0
}

/// A repository's name → its id.
pub(crate) fn repository_name(
    organisation: OrganisationId,
    registry: RegistryId,
    name: &str,
) -> Key {
    Build::organisation(organisation, b'n').number(registry.0).bytes(name.as_bytes()).0
}

/// All names of a registry's repositories, in their order.
pub(crate) fn repository_names(organisation: OrganisationId, registry: RegistryId) -> Key {
    Build::organisation(organisation, b'n').number(registry.0).0
}

/// Whose counter of bytes a key is, if it is one.
pub(crate) fn parse_usage(key: &[u8]) -> Option<OrganisationId> {
    let id = key.strip_prefix(b"o")?.strip_suffix(b"c")?;
    Some(OrganisationId(u64::from_be_bytes(id.try_into().ok()?)))
}

/// Whose record a key is, if it is an organisation's.
pub(crate) fn parse_organisation(key: &[u8]) -> Option<OrganisationId> {
    let id = key.strip_prefix(b"o")?.strip_suffix(b"a")?;
    Some(OrganisationId(u64::from_be_bytes(id.try_into().ok()?)))
}

/// Which of an organisation's rows a key is: the organisation and the byte of the kind.
pub(crate) fn parse_kind(key: &[u8]) -> Option<(OrganisationId, u8)> {
    let (id, rest) = key.strip_prefix(b"o")?.split_first_chunk::<8>()?;
    Some((OrganisationId(u64::from_be_bytes(*id)), *rest.first()?))
}

/// An upload session.
pub(crate) fn session(organisation: OrganisationId, session: SessionId) -> Key {
    Build::organisation(organisation, b'u').bytes(&session.0).0
}

/// All upload sessions of an organisation.
pub(crate) fn sessions(organisation: OrganisationId) -> Key {
    Build::organisation(organisation, b'u').0
}

/// The content of an organisation, and behind each blob its links.
pub(crate) fn contents(organisation: OrganisationId) -> Key {
    Build::organisation(organisation, b'd').0
}

/// A blob of an organisation.
pub(crate) fn blob(organisation: OrganisationId, digest: &Digest) -> Key {
    Build(contents(organisation)).bytes(&digest.to_bytes()).0
}

/// A repository's link to a digest, right behind the digest's blob.
pub(crate) fn link(organisation: OrganisationId, digest: &Digest, repository: RepositoryId) -> Key {
    Build(blob(organisation, digest)).number(repository.0).0
}

/// What a key below [`contents`] is about: a blob, or a link of a repository to it.
pub(crate) fn parse_content(key: &[u8]) -> Option<(Digest, Option<RepositoryId>)> {
    /// `o`, the organisation's id, `d`.
    const BEFORE: usize = 10;
    let rest = key.get(BEFORE..)?;
    if let Some(digest) = Digest::from_bytes(rest) {
        return Some((digest, None));
    }
    let (digest, repository) = rest.split_last_chunk::<8>()?;
    let repository = RepositoryId(u64::from_be_bytes(*repository));
    Some((Digest::from_bytes(digest)?, Some(repository)))
}

/// All rows of all repositories of an organisation.
pub(crate) fn repositories(organisation: OrganisationId) -> Key {
    Build::organisation(organisation, b'r').0
}

/// The repository of a key among those.
pub(crate) fn repository_of(key: &[u8]) -> Option<RepositoryId> {
    // `o`, the organisation's id, `r`, the repository's id.
    let id = key.get(10..)?.first_chunk::<8>()?;
    Some(RepositoryId(u64::from_be_bytes(*id)))
}

/// All rows of one repository.
pub(crate) fn repository_rows(organisation: OrganisationId, repository: RepositoryId) -> Key {
    Build::organisation(organisation, b'r').number(repository.0).0
}

/// A repository's record.
pub(crate) fn repository(organisation: OrganisationId, repository: RepositoryId) -> Key {
    Build::repository(organisation, repository, b'a').0
}

/// The manifests that name the child numbered `child`.
pub(crate) fn edges(organisation: OrganisationId, repository: RepositoryId, child: Number) -> Key {
    Build::repository(organisation, repository, b'e').number(child.0).0
}

/// The manifest `parent` names `child`.
pub(crate) fn edge(
    organisation: OrganisationId,
    repository: RepositoryId,
    child: Number,
    parent: Number,
) -> Key {
    Build(edges(organisation, repository, child)).number(parent.0).0
}

/// A manifest's record.
pub(crate) fn manifest(
    organisation: OrganisationId,
    repository: RepositoryId,
    number: Number,
) -> Key {
    Build::repository(organisation, repository, b'm').number(number.0).0
}

/// All manifests of a repository, oldest first.
pub(crate) fn manifests(organisation: OrganisationId, repository: RepositoryId) -> Key {
    Build::repository(organisation, repository, b'm').0
}

/// Whether a key among a repository's rows is a manifest's.
pub(crate) fn is_manifest(key: &[u8]) -> bool {
    /// `o`, the organisation's id, `r`, the repository's id.
    const BEFORE: usize = 18;
    key.get(BEFORE) == Some(&b'm')
}

/// When a manifest was pulled last.
pub(crate) fn pulled(
    organisation: OrganisationId,
    repository: RepositoryId,
    number: Number,
) -> Key {
    Build::repository(organisation, repository, b'p').number(number.0).0
}

/// When a manifest was last pushed again.
pub(crate) fn repushed(
    organisation: OrganisationId,
    repository: RepositoryId,
    number: Number,
) -> Key {
    Build::repository(organisation, repository, b'q').number(number.0).0
}

/// The repositories of an organisation that were given up and have rows yet.
pub(crate) fn all_doomed(organisation: OrganisationId) -> Key {
    Build::organisation(organisation, b'x').0
}

/// A repository that was given up.
pub(crate) fn doomed(organisation: OrganisationId, repository: RepositoryId) -> Key {
    Build(all_doomed(organisation)).number(repository.0).0
}

/// The referrers of a subject.
pub(crate) fn referrers(
    organisation: OrganisationId,
    repository: RepositoryId,
    subject: &Digest,
) -> Key {
    Build::repository(organisation, repository, b's').bytes(&subject.to_bytes()).0
}

/// The referrers of all subjects in a repository.
pub(crate) fn all_referrers(organisation: OrganisationId, repository: RepositoryId) -> Key {
    Build::repository(organisation, repository, b's').0
}

/// The referrers of a subject of one artifact type, side by side, so that a filtered page costs
/// what it returns.
pub(crate) fn referrers_of_type(
    organisation: OrganisationId,
    repository: RepositoryId,
    subject: &Digest,
    artifact_type: &str,
) -> Key {
    let hash = Digest::of(crate::digest::Algorithm::Sha256, artifact_type.as_bytes()).to_bytes();
    let short = hash.get(1..9).unwrap_or_default();
    Build(referrers(organisation, repository, subject)).bytes(short).0
}

/// A referrer's entry.
pub(crate) fn referrer(
    organisation: OrganisationId,
    repository: RepositoryId,
    subject: &Digest,
    artifact_type: &str,
    number: Number,
) -> Key {
    Build(referrers_of_type(organisation, repository, subject, artifact_type)).number(number.0).0
}

/// A tag.
pub(crate) fn tag(organisation: OrganisationId, repository: RepositoryId, tag: &str) -> Key {
    Build::repository(organisation, repository, b't').bytes(tag.as_bytes()).0
}

/// All tags of a repository, in their order.
pub(crate) fn tags(organisation: OrganisationId, repository: RepositoryId) -> Key {
    Build::repository(organisation, repository, b't').0
}

/// The tags that point at the manifest `number`.
pub(crate) fn tags_of(
    organisation: OrganisationId,
    repository: RepositoryId,
    number: Number,
) -> Key {
    Build::repository(organisation, repository, b'v').number(number.0).0
}

/// The tag `tag` points at the manifest `number`.
pub(crate) fn tag_of(
    organisation: OrganisationId,
    repository: RepositoryId,
    number: Number,
    tag: &str,
) -> Key {
    Build(tags_of(organisation, repository, number)).bytes(tag.as_bytes()).0
}

/// The manifests that name `child`, which was not there when they were pushed (sparse ones).
pub(crate) fn wanted(
    organisation: OrganisationId,
    repository: RepositoryId,
    child: &Digest,
) -> Key {
    Build::repository(organisation, repository, b'w').bytes(&child.to_bytes()).0
}

/// The index `parent` names `child`, which was not there.
pub(crate) fn wanted_by(
    organisation: OrganisationId,
    repository: RepositoryId,
    child: &Digest,
    parent: Number,
) -> Key {
    Build(wanted(organisation, repository, child)).number(parent.0).0
}

/// All audit chains of an organisation.
pub(crate) fn audit_chains(organisation: OrganisationId) -> Key {
    Build(vec![b'l']).number(organisation.0).0
}

/// One audit chain.
pub(crate) fn audit_chain(organisation: OrganisationId, chain: ChainId) -> Key {
    Build(audit_chains(organisation)).number(chain.0).0
}

/// What was cut off the beginning of an organisation's audit chains.
pub(crate) fn all_trimmed(organisation: OrganisationId) -> Key {
    Build(vec![b't']).number(organisation.0).0
}

/// What was cut off the beginning of an audit chain.
pub(crate) fn trimmed(organisation: OrganisationId, chain: ChainId) -> Key {
    Build(all_trimmed(organisation)).number(chain.0).0
}

/// How much of an audit chain is sealed.
pub(crate) fn sealed(organisation: OrganisationId, chain: ChainId) -> Key {
    Build(SEALED.to_vec()).number(organisation.0).number(chain.0).0
}

/// Records that frontends keep, by namespace; the zero byte ends the namespace.
pub(crate) fn extension(namespace: &str, key: &[u8]) -> Key {
    Build(vec![b'x']).bytes(namespace.as_bytes()).byte(0).bytes(key).0
}

/// The copies of small manifests in the blob store. They belong to this store and not to the
/// installation in it: whoever moves that elsewhere makes new ones there.
pub(crate) fn all_copies() -> Key {
    b"!copy".to_vec()
}

/// The copies of one organisation's small manifests, in the order of their digests.
pub(crate) fn copies(organisation: OrganisationId) -> Key {
    Build(all_copies()).number(organisation.0).0
}

/// The copy of a small manifest.
pub(crate) fn copy(organisation: OrganisationId, digest: &Digest) -> Key {
    Build(copies(organisation)).bytes(&digest.to_bytes()).0
}

/// Whose copy a key below [`all_copies`] is, and of which manifest.
pub(crate) fn parse_copy(key: &[u8]) -> Option<(OrganisationId, Digest)> {
    let (organisation, digest) = key.strip_prefix(b"!copy")?.split_first_chunk::<8>()?;
    Some((OrganisationId(u64::from_be_bytes(*organisation)), Digest::from_bytes(digest)?))
}

/// The last eight bytes of a key that ends in a number.
pub(crate) fn last_number(key: &[u8]) -> Option<u64> {
    let (_, last) = key.split_last_chunk::<8>()?;
    Some(u64::from_be_bytes(*last))
}

/// Where objects lie in the blob store.
pub(crate) mod object {
    use super::{Digest, ObjectKey, OrganisationId, SessionId};
    use crate::epoch::Epoch;

    /// Why the keys below are always good.
    const GOOD: &str = "ids and digests are lower-case hexadecimal";

    /// The prefix of all objects of an organisation.
    pub(crate) fn domain(organisation: OrganisationId) -> String {
        format!("{organisation}/")
    }

    /// A finished object of a known digest.
    pub(crate) fn settled(
        organisation: OrganisationId,
        digest: &Digest,
        generation: SessionId,
    ) -> ObjectKey {
        let prefix = generations(organisation, digest);
        ObjectKey::new(format!("{prefix}{generation}")).expect(GOOD)
    }

    /// What the keys of all finished objects of a digest begin with.
    pub(crate) fn generations(organisation: OrganisationId, digest: &Digest) -> String {
        let hex = digest.hex();
        let fan = hex.get(..2).unwrap_or_default();
        format!("{organisation}/{}/{fan}/{hex}.", digest.algorithm().as_str())
    }

    /// An object whose digest is not known yet.
    pub(crate) fn in_flight(organisation: OrganisationId, generation: SessionId) -> ObjectKey {
        ObjectKey::new(format!("{organisation}/in-flight/{generation}")).expect(GOOD)
    }

    /// The prefix of the objects that say which epoch the blob store is of.
    pub(crate) const EPOCHS: &str = "epoch/";

    /// The object of an epoch; the newest is the last of them.
    pub(crate) fn epoch(epoch: Epoch) -> ObjectKey {
        ObjectKey::new(format!("{EPOCHS}{:016x}.{:016x}", epoch.number, epoch.nonce)).expect(GOOD)
    }

    /// Which epoch a listed object says.
    pub(crate) fn parse_epoch(key: &ObjectKey) -> Option<Epoch> {
        let (number, nonce) = key.as_str().strip_prefix(EPOCHS)?.split_once('.')?;
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        Some(Epoch { number: hex(number)?, nonce: hex(nonce)? })
    }

    /// What a listed object's key says: whose it is, the digest where it is settled, and the
    /// generation.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Parsed {
        pub(crate) organisation: OrganisationId,
        pub(crate) digest: Option<Digest>,
        pub(crate) generation: SessionId,
        /// Whether it is no object of its own but a part that only an unfinished one needs.
        pub(crate) part: bool,
    }

    /// Reads a listed key; `None` where it is none of ours.
    pub(crate) fn parse(key: &ObjectKey) -> Option<Parsed> {
        let mut segments = key.as_str().split('/');
        let organisation = segments.next().filter(|s| s.len() == 16)?;
        let organisation = OrganisationId(u64::from_str_radix(organisation, 16).ok()?);
        let kind = segments.next()?;
        // A store without appends keeps parts of what is unfinished below its key (more segments
        // follow) or beside it (more follows its name, behind a dot).
        let name = |name: &str| {
            let (generation, beside) =
                name.split_once('.').map_or((name, false), |(generation, _)| (generation, true));
            Some((SessionId::parse(generation)?, beside))
        };
        if kind == "in-flight" {
            let (generation, beside) = name(segments.next()?)?;
            let part = beside || segments.next().is_some();
            return Some(Parsed { organisation, digest: None, generation, part });
        }
        let (_fan, file) = (segments.next()?, segments.next()?);
        let (hex, generation) = file.split_once('.')?;
        let digest = format!("{kind}:{hex}").parse().ok()?;
        let (generation, beside) = name(generation)?;
        let part = beside || segments.next().is_some();
        Some(Parsed { organisation, digest: Some(digest), generation, part })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    #[test]
    fn a_listed_object_tells_whose_it_is_and_which_generation() {
        let (organisation, generation) = (OrganisationId(7), SessionId([9; 16]));
        let digest = Digest::of(Algorithm::Sha512, b"x");
        let settled = object::settled(organisation, &digest, generation);
        let parsed = object::Parsed { organisation, digest: Some(digest), generation, part: false };
        assert_eq!(object::parse(&settled), Some(parsed));
        let part = ObjectKey::new(format!("{settled}/part-000001.ab")).unwrap();
        assert_eq!(object::parse(&part), Some(object::Parsed { part: true, ..parsed }));
        let flying = object::in_flight(organisation, generation);
        for (whole, parsed) in
            [(settled, parsed), (flying, object::Parsed { digest: None, ..parsed })]
        {
            assert_eq!(object::parse(&whole), Some(parsed));
            let tail = ObjectKey::new(format!("{whole}.tail-00ab-1")).unwrap();
            assert_eq!(object::parse(&tail), Some(object::Parsed { part: true, ..parsed }));
        }
        assert_eq!(object::parse(&ObjectKey::new("lost+found".replace('+', "-")).unwrap()), None);
    }

    #[test]
    fn a_copy_tells_whose_it_is_and_lies_in_the_order_of_the_contents() {
        let (one, other) = (OrganisationId(1), OrganisationId(2));
        let digest = Digest::of(Algorithm::Sha256, b"x");
        assert_eq!(parse_copy(&copy(one, &digest)), Some((one, digest)));
        assert_eq!(parse_copy(b"!copy"), None);
        assert!(!crate::meta::prefix_range(&copies(other)).contains(&copy(one, &digest)));
        let second = Digest::of(Algorithm::Sha512, b"x");
        let order = blob(one, &digest).cmp(&blob(one, &second));
        assert_eq!(copy(one, &digest).cmp(&copy(one, &second)), order);
    }

    #[test]
    fn the_rows_of_a_digest_lie_together_and_apart_from_its_neighbours() {
        let organisation = OrganisationId(1);
        let digest = Digest::of(Algorithm::Sha256, b"x");
        let range = crate::meta::prefix_range(&blob(organisation, &digest));
        assert!(range.contains(&blob(organisation, &digest)));
        assert!(range.contains(&link(organisation, &digest, RepositoryId(u64::MAX))));
        assert!(!range.contains(&blob(OrganisationId(2), &digest)));
        assert!(!range.contains(&blob(organisation, &Digest::of(Algorithm::Sha256, b"y"))));
    }
}
