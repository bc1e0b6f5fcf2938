//! Two engines over one database and one blob store, as two nodes: what one acknowledged, the other's
//! next request sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use strongroom_engine::access::{Action, Caller, PrincipalId, Role};
use strongroom_engine::content::opendal::OpendalStore;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::gc::{CollectOptions, FsckOptions, Progress};
use strongroom_engine::tenancy::{RegistrySettings, RoleAuthorizer};
use strongroom_engine::{Chunk, Engine, Error, ManifestPush, Repository};
use strongroom_postgres::{PostgresOptions, PostgresStore};

use crate::support::Server;

struct Nodes {
    _server: Server,
    options: PostgresOptions,
    blobs: Arc<OpendalStore>,
    engines: [Engine; 2],
}

impl Nodes {
    async fn start() -> Self {
        let server = Server::start();
        let options = server.fresh().await;
        let blobs = Arc::new(OpendalStore::memory().unwrap());
        let engines = [node(&options, &blobs).await, node(&options, &blobs).await];
        let [first, _] = &engines;
        let acme = "acme".parse().unwrap();
        let operator = Caller { operator: true, ..ann() };
        first.create_organisation(&operator, &acme, None, None).await.unwrap();
        let settings = RegistrySettings::default();
        first.create_registry(&ann(), &acme, &"main".parse().unwrap(), settings).await.unwrap();
        Self { _server: server, options, blobs, engines }
    }

    async fn fsck(&self) {
        let report = self.engines[0].fsck(&FsckOptions::default(), &|_| {}).await.unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
    }
}

async fn node(options: &PostgresOptions, blobs: &Arc<OpendalStore>) -> Engine {
    let store = Arc::new(PostgresStore::open(options.clone()).await.unwrap());
    let builder = Engine::builder(store.clone(), blobs.clone());
    builder.authorizer(Arc::new(RoleAuthorizer::new(store))).build().await.unwrap()
}

fn caller(name: &str) -> Caller {
    Caller::known(PrincipalId::new(format!("user:{name}")).unwrap())
}

/// The organisation's admin.
fn ann() -> Caller {
    caller("ann")
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn body(bytes: &[u8]) -> impl futures::Stream<Item = Result<Bytes, Error>> + Send + use<> {
    futures::stream::iter([Ok(Bytes::copy_from_slice(bytes))])
}

async fn open(engine: &Engine, action: Action) -> Result<Repository, Error> {
    engine.repository(&ann(), &"acme/main/api".parse().unwrap(), action).await
}

/// Pushes an image whose layer is `text`, and points `tags` at it.
async fn push(engine: &Engine, text: &str, tags: &[&str]) -> Result<Digest, Error> {
    let repository = open(engine, Action::Push).await?;
    for bytes in ["{}", text] {
        let digest = sha256(bytes.as_bytes());
        repository.push_blob(&digest, None, body(bytes.as_bytes())).await?;
    }
    let (config, layer, size) = (sha256(b"{}"), sha256(text.as_bytes()), text.len());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},
        "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{size}}}]}}"#
    );
    let tags = tags.iter().map(|tag| tag.parse().unwrap()).collect();
    let push = ManifestPush { bytes: manifest.into(), content_type: None, digest: None, tags };
    Ok(repository.push_manifest(&push).await?.digest)
}

async fn pull(engine: &Engine, reference: &str) -> Result<Digest, Error> {
    let repository = open(engine, Action::Pull).await?;
    Ok(repository.manifest(&reference.parse().unwrap()).await?.digest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tag_pushed_at_one_is_what_the_other_pulls_next() {
    let nodes = Nodes::start().await;
    for round in 0..20 {
        let (to, from) = (&nodes.engines[round % 2], &nodes.engines[(round + 1) % 2]);
        let digest = push(to, &format!("layer {round}"), &["latest"]).await.unwrap();
        assert_eq!(pull(from, "latest").await.unwrap(), digest);
        assert_eq!(pull(from, &digest.to_string()).await.unwrap(), digest);
        assert_eq!(pull(to, "latest").await.unwrap(), digest);
    }
    let [first, second] = &nodes.engines;
    let digest = pull(second, "latest").await.unwrap();
    open(first, Action::Delete).await.unwrap().delete_manifest(&digest).await.unwrap();
    for reference in ["latest", &digest.to_string()] {
        let gone = pull(second, reference).await;
        assert!(matches!(gone, Err(Error::ManifestUnknown { .. })), "{reference}: {gone:?}");
    }
    nodes.fsck().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_role_or_a_name_taken_away_at_one_is_gone_at_the_other() {
    let nodes = Nodes::start().await;
    let [first, second] = &nodes.engines;
    push(first, "layer", &["v1"]).await.unwrap();
    let (acme, main) = ("acme".parse().unwrap(), "main".parse().unwrap());
    let bob = caller("bob");
    let path = "acme/main/api".parse().unwrap();
    let pulls = async |engine: &Engine| -> Result<(), Error> {
        let repository = engine.repository(&bob, &path, Action::Pull).await?;
        repository.manifest(&"v1".parse().unwrap()).await.map(drop)
    };
    let id = PrincipalId::new("user:bob").unwrap();
    for _ in 0..3 {
        assert!(matches!(pulls(second).await, Err(Error::NameUnknown { .. })));
        first.set_role(&ann(), &acme, &id, None, Role::Viewer).await.unwrap();
        pulls(second).await.unwrap();
        pulls(second).await.unwrap();
        first.remove_role(&ann(), &acme, &id, None).await.unwrap();
    }
    let public = RegistrySettings { public: true, ..RegistrySettings::default() };
    first.set_registry(&ann(), &acme, &main, &public, None).await.unwrap();
    pulls(second).await.unwrap();
    first.set_registry(&ann(), &acme, &main, &RegistrySettings::default(), None).await.unwrap();
    assert!(matches!(pulls(second).await, Err(Error::NameUnknown { .. })));

    pull(second, "v1").await.unwrap();
    first.rename_registry(&ann(), &acme, &main, &"other".parse().unwrap()).await.unwrap();
    assert!(matches!(pull(second, "v1").await, Err(Error::NameUnknown { .. })));
    first.rename_registry(&ann(), &acme, &"other".parse().unwrap(), &main).await.unwrap();
    pull(second, "v1").await.unwrap();
    first.delete_registry(&ann(), &acme, &main, true).await.unwrap();
    assert!(matches!(pull(second, "v1").await, Err(Error::NameUnknown { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_upload_begun_at_one_goes_on_at_the_other() {
    let nodes = Nodes::start().await;
    let [first, second] = &nodes.engines;
    let upload = open(first, Action::Push).await.unwrap().start_upload(None, None).await.unwrap();
    let mut offset = 0;
    for (round, part) in ["one ", "two ", "three ", "four"].into_iter().enumerate() {
        let repository = open(&nodes.engines[round % 2], Action::Push).await.unwrap();
        let chunk = Chunk { at: Some(offset), length: None };
        let upload = repository.append(upload.id, chunk, body(part.as_bytes())).await.unwrap();
        offset = upload.offset;
    }
    let digest = sha256(b"one two three four");
    let repository = open(second, Action::Push).await.unwrap();
    assert_eq!(repository.finish_upload(upload.id, &digest).await.unwrap().size, 18);
    let repository = open(first, Action::Pull).await.unwrap();
    assert_eq!(repository.stat_blob(&digest).await.unwrap().size, 18);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_node_collects_at_a_time_and_says_so() {
    let nodes = Nodes::start().await;
    let [first, second] = &nodes.engines;
    push(first, "layer", &["v1"]).await.unwrap();
    let (began, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let collecting = tokio::spawn({
        let (first, began, go_on) = (first.clone(), Arc::clone(&began), Arc::clone(&go_on));
        async move {
            let wait = |_: &Progress| {
                began.store(true, Ordering::SeqCst);
                while !go_on.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
            };
            first.collect(&CollectOptions::everything(), &wait).await
        }
    });
    while !began.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    let refused = second.collect(&CollectOptions::everything(), &|_| {}).await;
    assert!(matches!(refused, Err(Error::Collecting { .. })), "{refused:?}");
    // Looking is free.
    second.collect(&CollectOptions::everything().dry_run(), &|_| {}).await.unwrap();
    go_on.store(true, Ordering::SeqCst);

    assert!(collecting.await.unwrap().unwrap().complete);
    assert!(second.collect(&CollectOptions::everything(), &|_| {}).await.unwrap().complete);
    nodes.fsck().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_starts_breaks_no_deletion_at_another() {
    let nodes = Nodes::start().await;
    let [first, second] = &nodes.engines;
    let acme = "acme".parse().unwrap();
    for round in 0..6 {
        let name = format!("r{round}").parse().unwrap();
        first.create_registry(&ann(), &acme, &name, RegistrySettings::default()).await.unwrap();
        let path = format!("acme/r{round}/api").parse().unwrap();
        let deleting = async { first.delete_registry(&ann(), &acme, &name, false).await };
        let starting = async {
            for _ in 0..3 {
                node(&nodes.options, &nodes.blobs).await;
            }
        };
        let pushing = async {
            let repository = second.repository(&ann(), &path, Action::Push).await?;
            repository.push_blob(&sha256(b"kept"), None, body(b"kept")).await.map(drop)
        };
        let (deleted, (), pushed) = tokio::join!(deleting, starting, pushing);

        let here = async {
            let repository = second.repository(&ann(), &path, Action::Pull).await?;
            repository.stat_blob(&sha256(b"kept")).await
        };
        // Both may fail: the push made the repository, and found the registry closed after that.
        // What must not be is that either was acknowledged for nothing.
        let here = here.await;
        assert_eq!(here.is_ok(), pushed.is_ok(), "pushed {pushed:?}, there {here:?}");
        match deleted {
            Ok(()) => assert!(pushed.is_err(), "what was acknowledged is gone"),
            Err(Error::NotEmpty { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_nodes_push_delete_and_collect_at_once_and_all_of_it_holds() {
    let nodes = Nodes::start().await;
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let engine = nodes.engines[task % 2].clone();
            let other = nodes.engines[(task + 1) % 2].clone();
            tokio::spawn(async move {
                for round in 0..6 {
                    let tag = format!("t{task}");
                    let text = format!("layer {}", round % 3);
                    let digest = push(&engine, &text, &[&tag]).await.unwrap();
                    match pull(&other, &tag).await {
                        Ok(found) => assert_eq!(found, digest),
                        // Another task deletes the same image.
                        Err(Error::ManifestUnknown { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                    if round % 2 == 1 {
                        let repository = open(&engine, Action::Delete).await.unwrap();
                        match repository.delete_manifest(&digest).await {
                            Ok(()) | Err(Error::ManifestUnknown { .. }) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                    match engine.collect(&CollectOptions::everything(), &|_| {}).await {
                        Ok(_) | Err(Error::Collecting { .. } | Error::Contended { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for engine in &nodes.engines {
        engine.flush().await.unwrap();
    }
    nodes.fsck().await;
}
