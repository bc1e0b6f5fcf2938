//! A client that remembers what it was promised, and since which effect.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use strongroom_engine::access::{Action, PrincipalId, Role};
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::disk::sim::SimDisk;
use strongroom_engine::gc::CollectOptions;
use strongroom_engine::id::SessionId;
use strongroom_engine::seam::Timestamp;
use strongroom_engine::tenancy::RegistrySettings;
use strongroom_engine::{Chunk, Error, ManifestPush};

use crate::promise::{Content, Deed, History, Item, Value};
use crate::world::{DAWN, World, body};

pub(crate) const ORGANISATION: &str = "acme";
pub(crate) const API: &str = "acme/main/api";
pub(crate) const WEB: &str = "acme/main/web";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

pub(crate) struct Client {
    pub(crate) world: World,
    history: Mutex<History>,
    /// What the clock showed since which effect.
    clock: Mutex<Vec<(usize, Timestamp)>>,
}

/// What a finished workflow leaves to crash.
pub(crate) struct Recording {
    pub(crate) name: &'static str,
    pub(crate) disk: SimDisk,
    pub(crate) history: History,
    clock: Vec<(usize, Timestamp)>,
    /// The effects of which all come before the workflow.
    pub(crate) first: usize,
}

impl Recording {
    /// The time behind the first `at` effects.
    pub(crate) fn time(&self, at: usize) -> Timestamp {
        self.clock.iter().rfind(|(since, _)| *since <= at).map_or(DAWN, |(_, now)| *now)
    }
}

/// `size` bytes that no other `number` has.
pub(crate) fn content(number: u64, size: usize) -> Bytes {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    });
    bytes.take(size).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn organisation_of(path: &str) -> String {
    path.split('/').next().unwrap_or_default().to_owned()
}

impl Client {
    pub(crate) fn new(world: World) -> Self {
        let history = Mutex::new(History::default());
        Self { world, history, clock: Mutex::new(vec![(0, DAWN)]) }
    }

    /// Where the disk stands.
    pub(crate) fn place(&self) -> usize {
        self.world.disk.effects()
    }

    pub(crate) fn record(self, name: &'static str, first: usize) -> Recording {
        let clock = self.clock.into_inner().unwrap();
        let history = self.history.into_inner().unwrap();
        Recording { name, disk: self.world.disk.clone(), history, clock, first }
    }

    /// Notes what is asked for now; the answer is for [`Self::acknowledged`].
    fn ask(
        &self,
        what: String,
        sets: Vec<(Item, Value)>,
        lines: Vec<(String, String)>,
        at_once: bool,
    ) -> usize {
        let mut history = self.history.lock().unwrap();
        let start = self.place();
        history.deeds.push(Deed { what, start, end: None, sets, lines, at_once });
        history.deeds.len() - 1
    }

    fn acknowledged(&self, deed: usize) {
        let end = self.place();
        self.history.lock().unwrap().deeds[deed].end = Some(end);
    }

    /// Notes what was learnt now.
    fn learnt(&self, what: &str, item: Item, value: Value) {
        let deed = self.ask(what.to_owned(), vec![(item, value)], Vec::new(), true);
        self.acknowledged(deed);
    }

    fn know(&self, bytes: Bytes, algorithm: Algorithm) -> Digest {
        let digest = Digest::of(algorithm, &bytes);
        let (children, subject) = (Vec::new(), None);
        let content = Content { bytes, media_type: None, children, subject };
        self.history.lock().unwrap().contents.entry(digest).or_insert(content);
        digest
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.world.clock.advance(by);
        self.clock.lock().unwrap().push((self.place(), self.world.now()));
    }

    pub(crate) async fn create_organisation(&self, name: &str) {
        let deed = self.ask(
            format!("create {name}"),
            vec![
                (Item::Organisation(name.to_owned()), Value::Says("None".to_owned())),
                (Item::Member(name.to_owned(), "user:tester".to_owned()), role(Role::Admin)),
            ],
            vec![(name.to_owned(), format!("organisation_created {name}"))],
            true,
        );
        let engine = &self.world.engine;
        let caller = &self.world.caller;
        engine.create_organisation(caller, &name.parse().unwrap(), None, None).await.unwrap();
        self.acknowledged(deed);
    }

    pub(crate) async fn set_quota(&self, name: &str, quota: Option<u64>) {
        let deed = self.ask(
            format!("set the quota of {name}"),
            vec![(Item::Organisation(name.to_owned()), Value::Says(format!("{quota:?}")))],
            vec![(name.to_owned(), "quota_changed".to_owned())],
            true,
        );
        let engine = &self.world.engine;
        engine.set_quota(&self.world.caller, &name.parse().unwrap(), quota).await.unwrap();
        self.acknowledged(deed);
    }

    pub(crate) async fn delete_organisation(&self, name: &str, items: Vec<Item>) {
        let mut sets: Vec<_> = items.into_iter().map(|item| (item, Value::Absent)).collect();
        sets.push((Item::Organisation(name.to_owned()), Value::Absent));
        // The trail of what is gone is not asked for by its name.
        let deed = self.ask(format!("delete {name}"), sets, Vec::new(), true);
        let engine = &self.world.engine;
        engine.delete_organisation(&self.world.caller, &name.parse().unwrap(), true).await.unwrap();
        self.acknowledged(deed);
    }

    pub(crate) async fn create_registry(&self, organisation: &str, name: &str) {
        let deed = self.ask(
            format!("create {organisation}/{name}"),
            vec![(registry(organisation, name), Value::Present)],
            vec![(organisation.to_owned(), format!("registry_created {name}"))],
            true,
        );
        let settings = RegistrySettings::default();
        let (of, new) = (organisation.parse().unwrap(), name.parse().unwrap());
        let engine = &self.world.engine;
        engine.create_registry(&self.world.caller, &of, &new, settings).await.unwrap();
        self.acknowledged(deed);
    }

    pub(crate) async fn rename_registry(&self, organisation: &str, name: &str, new: &str) {
        let deed = self.ask(
            format!("rename {organisation}/{name}"),
            vec![
                (registry(organisation, name), Value::Absent),
                (registry(organisation, new), Value::Present),
            ],
            vec![(organisation.to_owned(), "registry_changed".to_owned())],
            true,
        );
        let of = organisation.parse().unwrap();
        let (name, new) = (name.parse().unwrap(), new.parse().unwrap());
        let engine = &self.world.engine;
        engine.rename_registry(&self.world.caller, &of, &name, &new).await.unwrap();
        self.acknowledged(deed);
    }

    pub(crate) async fn delete_registry(&self, organisation: &str, name: &str, force: bool) {
        let deed = self.ask(
            format!("delete {organisation}/{name}"),
            vec![(registry(organisation, name), Value::Absent)],
            vec![(organisation.to_owned(), format!("registry_deleted {name}"))],
            true,
        );
        let (of, name) = (organisation.parse().unwrap(), name.parse().unwrap());
        let engine = &self.world.engine;
        engine.delete_registry(&self.world.caller, &of, &name, force).await.unwrap();
        self.acknowledged(deed);
    }

    pub(crate) async fn set_role(&self, organisation: &str, who: &str, new: Option<Role>) {
        let value = new.map_or(Value::Absent, role);
        let deed = self.ask(
            format!("make {who} {new:?}"),
            vec![(Item::Member(organisation.to_owned(), who.to_owned()), value)],
            vec![(organisation.to_owned(), format!("member_set {who} {new:?}"))],
            true,
        );
        let (of, who) = (organisation.parse().unwrap(), PrincipalId::new(who).unwrap());
        let (engine, caller) = (&self.world.engine, &self.world.caller);
        match new {
            Some(new) => engine.set_role(caller, &of, &who, None, new).await.unwrap(),
            None => engine.remove_role(caller, &of, &who, None).await.unwrap(),
        }
        self.acknowledged(deed);
    }

    /// Pushes a blob in one request.
    pub(crate) async fn push_blob(&self, path: &str, bytes: Bytes) -> Digest {
        let digest = self.know(bytes.clone(), Algorithm::Sha256);
        let deed = self.ask(
            format!("push {digest} to {path}"),
            vec![(Item::Blob(path.to_owned(), digest), Value::Present)],
            vec![(organisation_of(path), format!("blob_pushed {path} {digest}"))],
            true,
        );
        let repository = self.world.writable(path).await;
        let length = Some(bytes.len() as u64);
        repository.push_blob(&digest, length, body(&bytes, 4096)).await.unwrap();
        self.acknowledged(deed);
        digest
    }

    /// Starts an upload of `bytes`.
    pub(crate) async fn start(&self, path: &str, bytes: &Bytes) -> SessionId {
        let digest = self.know(bytes.clone(), Algorithm::Sha256);
        let repository = self.world.writable(path).await;
        let id = repository.start_upload(None, None).await.unwrap().id;
        self.learnt("start an upload", upload(path, id), Value::At(digest, 0));
        id
    }

    /// Appends `bytes[at..end]`, in pieces, and asks now and then how the upload stands.
    pub(crate) async fn append(
        &self,
        path: &str,
        id: SessionId,
        bytes: &Bytes,
        at: usize,
        end: usize,
    ) {
        let digest = sha256(bytes);
        let item = upload(path, id);
        let what = format!("append {at}..{end} to {id}");
        let full = Value::At(digest, end as u64);
        let deed = self.ask(what, vec![(item.clone(), full.clone())], Vec::new(), false);
        let repository = self.world.writable(path).await;
        let chunk = Chunk { at: Some(at as u64), length: Some((end - at) as u64) };
        let pieces = body(&bytes.slice(at..end), 3000).then(|piece| async {
            let offset = self.world.writable(path).await.upload(id).await.unwrap().offset;
            self.learnt("ask how an upload stands", item.clone(), Value::At(digest, offset));
            piece
        });
        repository.append(id, chunk, pieces).await.unwrap();
        self.acknowledged(deed);
        self.learnt("the append was acknowledged", item, full);
    }

    pub(crate) async fn finish(
        &self,
        path: &str,
        id: SessionId,
        bytes: &Bytes,
        algorithm: Algorithm,
    ) -> Digest {
        let digest = self.know(bytes.clone(), algorithm);
        let deed = self.ask(
            format!("finish {id} as {digest}"),
            vec![
                (upload(path, id), Value::Absent),
                (Item::Blob(path.to_owned(), digest), Value::Present),
            ],
            vec![(organisation_of(path), format!("blob_pushed {path} {digest}"))],
            true,
        );
        self.world.writable(path).await.finish_upload(id, &digest).await.unwrap();
        self.acknowledged(deed);
        digest
    }

    pub(crate) async fn cancel(&self, path: &str, id: SessionId) {
        let sets = vec![(upload(path, id), Value::Absent)];
        let deed = self.ask(format!("cancel {id}"), sets, Vec::new(), true);
        self.world.writable(path).await.cancel_upload(id).await.unwrap();
        self.acknowledged(deed);
    }

    /// Notes that uploads are expected to be gone from now on: time has passed.
    pub(crate) fn expired(&self, path: &str, id: SessionId) {
        self.learnt("an upload expired", upload(path, id), Value::Absent);
    }

    pub(crate) async fn mount(&self, digest: &Digest, from: &str, to: &str) {
        let deed = self.ask(
            format!("mount {digest} from {from} to {to}"),
            vec![(Item::Blob(to.to_owned(), *digest), Value::Present)],
            vec![(organisation_of(to), format!("blob_mounted {to} {digest}"))],
            true,
        );
        let source = self.world.repository(from, Action::Pull).await.unwrap();
        assert!(self.world.writable(to).await.mount(digest, &source).await.unwrap());
        self.acknowledged(deed);
    }

    /// Pushes a manifest; the organisation's trail tells of it once.
    async fn push(&self, path: &str, content: Content, tags: &[&str]) -> Digest {
        let digest = sha256(&content.bytes);
        let mut sets = vec![(Item::Manifest(path.to_owned(), digest), Value::Present)];
        for name in tags {
            sets.push((tag(path, name), Value::Points(digest)));
        }
        let push = ManifestPush {
            bytes: content.bytes.clone(),
            content_type: content.media_type.map(str::to_owned),
            digest: None,
            tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
        };
        self.history.lock().unwrap().contents.entry(digest).or_insert(content);
        let deed = self.ask(
            format!("push {digest} to {path} as {tags:?}"),
            sets,
            vec![(organisation_of(path), format!("manifest_pushed {path} {digest} {tags:?}"))],
            true,
        );
        self.world.writable(path).await.push_manifest(&push).await.unwrap();
        self.acknowledged(deed);
        digest
    }

    /// Pushes an image of `layers`, the first of which is its config, padded with `padding`.
    pub(crate) async fn push_image(
        &self,
        path: &str,
        layers: &[Digest],
        subject: Option<Digest>,
        padding: usize,
        tags: &[&str],
    ) -> Digest {
        let described = |digest: &Digest, media_type: &str| {
            let size = self.size(digest);
            format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
        };
        let config = described(&layers[0], CONFIG);
        let rest: Vec<_> = layers[1..].iter().map(|layer| described(layer, LAYER)).collect();
        let rest = rest.join(",");
        let refers =
            subject.map(|subject| format!(r#","subject":{}"#, described(&subject, MANIFEST)));
        let refers = refers.unwrap_or_default();
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{rest}]{refers},"annotations":{{"pad":"{}"}}}}"#,
            "x".repeat(padding)
        );
        let children = layers.iter().map(|layer| (*layer, false)).collect();
        let (bytes, media_type) = (Bytes::from(text), Some(MANIFEST));
        self.push(path, Content { bytes, media_type, children, subject }, tags).await
    }

    pub(crate) async fn push_index(&self, path: &str, images: &[Digest], tags: &[&str]) -> Digest {
        let images_of = images.iter().map(|image| {
            let size = self.size(image);
            format!(r#"{{"mediaType":"{MANIFEST}","digest":"{image}","size":{size}}}"#)
        });
        let rest = images_of.collect::<Vec<_>>().join(",");
        let text = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{rest}]}}"#);
        let children = images.iter().map(|image| (*image, true)).collect();
        let (bytes, media_type) = (Bytes::from(text), Some(INDEX));
        self.push(path, Content { bytes, media_type, children, subject: None }, tags).await
    }

    fn size(&self, digest: &Digest) -> usize {
        self.history.lock().unwrap().contents[digest].bytes.len()
    }

    pub(crate) async fn delete_tag(&self, path: &str, name: &str) {
        let deed = self.ask(
            format!("delete tag {name} of {path}"),
            vec![(tag(path, name), Value::Absent)],
            vec![(organisation_of(path), format!("tag_deleted {path} {name}"))],
            true,
        );
        let repository = self.world.repository(path, Action::Delete).await.unwrap();
        repository.delete_tag(&name.parse().unwrap()).await.unwrap();
        self.acknowledged(deed);
    }

    /// Deletes a manifest, which has these tags.
    pub(crate) async fn delete_manifest(&self, path: &str, digest: &Digest, tags: &[&str]) {
        let mut sets = vec![(Item::Manifest(path.to_owned(), *digest), Value::Absent)];
        sets.extend(tags.iter().map(|name| (tag(path, name), Value::Absent)));
        let deed = self.ask(
            format!("delete {digest} from {path}"),
            sets,
            vec![(organisation_of(path), format!("manifest_deleted {path} {digest}"))],
            true,
        );
        let repository = self.world.repository(path, Action::Delete).await.unwrap();
        repository.delete_manifest(digest).await.unwrap();
        self.acknowledged(deed);
    }

    pub(crate) async fn delete_blob(&self, path: &str, digest: &Digest) {
        let deed = self.ask(
            format!("delete blob {digest} from {path}"),
            vec![(Item::Blob(path.to_owned(), *digest), Value::Absent)],
            vec![(organisation_of(path), format!("blob_deleted {path} {digest}"))],
            true,
        );
        let repository = self.world.repository(path, Action::Delete).await.unwrap();
        repository.delete_blob(digest).await.unwrap();
        self.acknowledged(deed);
    }

    /// Asks for the deletion of what is not empty: it stays, and never answers as absent again.
    pub(crate) async fn refused_to_delete(&self, organisation: &str, registry: Option<&str>) {
        let (engine, caller) = (&self.world.engine, &self.world.caller);
        let of = organisation.parse().unwrap();
        let deleted = match registry {
            None => engine.delete_organisation(caller, &of, false).await,
            Some(name) => engine.delete_registry(caller, &of, &name.parse().unwrap(), false).await,
        };
        assert!(matches!(deleted, Err(Error::NotEmpty { .. })), "{deleted:?}");
    }

    /// Collects; of these items nothing may be left afterwards.
    pub(crate) async fn collect(&self, garbage: Vec<Item>) {
        let sets = garbage.into_iter().map(|item| (item, Value::Absent)).collect();
        let deed = self.ask("collect".to_owned(), sets, Vec::new(), false);
        self.world.engine.collect(&CollectOptions::everything(), &|_| {}).await.unwrap();
        self.acknowledged(deed);
    }

    /// Copies the small manifests that were pushed. It promises nothing but that nothing is lost.
    pub(crate) async fn copy(&self) {
        self.world.engine.flush().await.unwrap();
    }

    /// Makes the store what the first version wrote: it had no epoch and no copies.
    pub(crate) async fn age(&self) {
        use strongroom_engine::meta::{Commit, CommitId, MetaRead, MetaStore};
        let meta = &self.world.meta;
        let row = meta.get(b"!format").await.unwrap().unwrap();
        let mut old = row.to_vec();
        // Behind the record's version.
        old[1] = 1;
        let mut commit = Commit::new(CommitId([9; 16]));
        commit.put.push((b"!format".to_vec(), old.into()));
        for name in [b"!copy".as_slice(), b"!epoch"] {
            let range = strongroom_engine::meta::prefix_range(name);
            assert_eq!(meta.scan(range, 1).await.unwrap(), []);
        }
        meta.commit(commit).await.unwrap();
    }

    /// Starts the program anew, which migrates an older store.
    pub(crate) async fn start_again(&self) {
        drop(self.world.start_again(2).await);
    }

    /// Compacts the database.
    pub(crate) async fn compact(&self) {
        use strongroom_engine::meta::MetaStore;
        self.world.meta.compact().await.unwrap();
    }

    pub(crate) async fn refused(&self, path: &str, id: SessionId, wrong: &Digest) {
        let sets = vec![(upload(path, id), Value::Absent)];
        let deed = self.ask(format!("finish {id} as what it is not"), sets, Vec::new(), true);
        match self.world.writable(path).await.finish_upload(id, wrong).await {
            Err(Error::DigestMismatch { .. }) => self.acknowledged(deed),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn role(role: Role) -> Value {
    Value::Says(format!("{role:?}"))
}

fn registry(organisation: &str, name: &str) -> Item {
    Item::Registry(organisation.to_owned(), name.to_owned())
}

fn upload(path: &str, id: SessionId) -> Item {
    Item::Upload(path.to_owned(), id)
}

pub(crate) fn tag(path: &str, name: &str) -> Item {
    Item::Tag(path.to_owned(), name.to_owned())
}
