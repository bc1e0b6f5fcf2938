//! What is done to a store before it crashes: each workflow on a disk of its own.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::join;
use strongroom_engine::access::Role;
use strongroom_engine::digest::{Algorithm, Digest};

use crate::client::{API, Client, ORGANISATION, Recording, WEB, content, sha256, tag};
use crate::promise::Item;
use crate::world::{CHECKPOINT_BYTES, DAWN, DELETE_DELAY, LEASE, World};

type Work = for<'a> fn(&'a Client) -> BoxFuture<'a, ()>;

/// A workflow, with what has to be there before it.
struct Workflow {
    name: &'static str,
    before: Work,
    work: Work,
}

macro_rules! workflows {
    ($($name:literal: $before:ident, $work:ident;)+) => {
        &[$(Workflow { name: $name, before: |c| $before(c).boxed(), work: |c| $work(c).boxed() },)+]
    };
}

const WORKFLOWS: &[Workflow] = workflows! {
    "the first organisation": nothing, tenants;
    "blobs pushed whole": registry, whole_blobs;
    "a chunked upload": registry, chunked_upload;
    "one long append": registry, long_append;
    "finish with another algorithm": registry, other_algorithm;
    "uploads given up": registry, given_up;
    "manifests": registry, manifests;
    "large manifests": registry, large_manifests;
    "mounts": image, mounts;
    "a tag that moves": image, retag;
    "deletes": image, deletes;
    "tenants come and go": image, tenancy;
    "deletions refused": image, refused_deletions;
    "pushes side by side": image, side_by_side;
    "collection": image, collection;
    "collection of a tenant": image, tenant_collection;
    "compaction of the database": image, compaction;
    "copies of manifests": image, copies;
    "a store of the first version": old_image, migration;
};

/// Makes a store and runs each workflow on one of its own.
pub(crate) fn record_all(only: Option<&str>) -> Vec<Recording> {
    let wanted = WORKFLOWS.iter().filter(|workflow| only.is_none_or(|only| only == workflow.name));
    wanted
        .map(|workflow| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(1)
                .build()
                .unwrap();
            runtime.block_on(async {
                let disk = strongroom_engine::disk::sim::SimDisk::new();
                let client = Client::new(World::open(&disk, DAWN, 1).await.unwrap());
                (workflow.before)(&client).await;
                // Making the store itself is looked at once.
                let first = if workflow.name == WORKFLOWS[0].name { 0 } else { client.place() };
                (workflow.work)(&client).await;
                client.record(workflow.name, first)
            })
        })
        .collect()
}

fn nothing(_: &Client) -> std::future::Ready<()> {
    std::future::ready(())
}

async fn registry(client: &Client) {
    client.create_organisation(ORGANISATION).await;
    client.create_registry(ORGANISATION, "main").await;
}

/// An image that stays: its layers, and what nobody may lose whatever happens next to it.
async fn image(client: &Client) {
    registry(client).await;
    let layers = layers(client, API, 10).await;
    client.push_image(API, &layers, None, 0, &["stays", "v1"]).await;
}

async fn layers(client: &Client, path: &str, number: u64) -> [Digest; 2] {
    [
        client.push_blob(path, content(number, 300)).await,
        client.push_blob(path, content(number + 1, 5000)).await,
    ]
}

async fn tenants(client: &Client) {
    registry(client).await;
    client.create_organisation("other").await;
    client.push_blob(API, content(1, 10)).await;
}

async fn whole_blobs(client: &Client) {
    client.push_blob(API, content(1, 0)).await;
    client.push_blob(API, content(2, 9000)).await;
    // The same content in another repository, and once more where it is.
    client.push_blob(WEB, content(2, 9000)).await;
    client.push_blob(API, content(2, 9000)).await;
    client.push_blob(API, content(3, 700)).await;
}

async fn chunked_upload(client: &Client) {
    let bytes = content(1, 9000);
    let id = client.start(API, &bytes).await;
    for (at, end) in [(0, 3000), (3000, 3001), (3001, 9000)] {
        client.append(API, id, &bytes, at, end).await;
    }
    client.finish(API, id, &bytes, Algorithm::Sha256).await;
    let empty = content(2, 0);
    let id = client.start(API, &empty).await;
    client.finish(API, id, &empty, Algorithm::Sha256).await;
}

async fn long_append(client: &Client) {
    let bytes = content(1, 7 * CHECKPOINT_BYTES / 2);
    let id = client.start(API, &bytes).await;
    client.append(API, id, &bytes, 0, bytes.len()).await;
    client.finish(API, id, &bytes, Algorithm::Sha256).await;
}

async fn other_algorithm(client: &Client) {
    let bytes = content(1, 4000);
    let id = client.start(API, &bytes).await;
    client.append(API, id, &bytes, 0, 4000).await;
    client.finish(API, id, &bytes, Algorithm::Sha512).await;
}

async fn given_up(client: &Client) {
    let bytes = content(1, 4000);
    let cancelled = client.start(API, &bytes).await;
    client.append(API, cancelled, &bytes, 0, 3500).await;
    client.cancel(API, cancelled).await;
    let wrong = client.start(API, &bytes).await;
    client.append(API, wrong, &bytes, 0, 3500).await;
    client.refused(API, wrong, &sha256(b"something else")).await;
    let expired = client.start(API, &bytes).await;
    client.append(API, expired, &bytes, 0, 3500).await;
    client.advance(LEASE + Duration::from_secs(1));
    client.expired(API, expired);
    client.push_blob(API, content(2, 50)).await;
}

async fn manifests(client: &Client) {
    let layers = layers(client, API, 1).await;
    let image = client.push_image(API, &layers, None, 0, &["v1", "v1.0", "latest"]).await;
    let untagged = client.push_image(API, &layers[..1], None, 0, &[]).await;
    client.push_image(API, &layers[1..], Some(image), 0, &[]).await;
    client.push_index(API, &[image, untagged], &["all", "latest"]).await;
    client.push_image(API, &layers, None, 0, &["again"]).await;
}

async fn large_manifests(client: &Client) {
    let layers = layers(client, API, 1).await;
    let image = client.push_image(API, &layers, None, 3000, &["v1", "latest"]).await;
    client.push_image(API, &layers, Some(image), 4000, &["latest"]).await;
    // The same bytes in the same place and in another.
    client.push_image(API, &layers, None, 3000, &["v2"]).await;
    for layer in &layers {
        client.mount(layer, API, WEB).await;
    }
    client.push_image(WEB, &layers, None, 3000, &["v1"]).await;
}

async fn mounts(client: &Client) {
    let layers = [sha256(&content(10, 300)), sha256(&content(11, 5000))];
    for layer in &layers {
        client.mount(layer, API, WEB).await;
    }
    client.push_image(WEB, &layers, None, 0, &["v1"]).await;
}

async fn retag(client: &Client) {
    let layers = [sha256(&content(10, 300)), sha256(&content(11, 5000))];
    let mut old = client.push_image(API, &layers, None, 1, &["moves"]).await;
    for padding in 2..5 {
        let new = client.push_image(API, &layers, None, padding, &["moves"]).await;
        client.delete_manifest(API, &old, &[]).await;
        old = new;
    }
}

async fn deletes(client: &Client) {
    let own = layers(client, API, 20).await;
    let large = client.push_image(API, &own, None, 2000, &["big", "bigger"]).await;
    let small = client.push_image(API, &own, Some(large), 0, &["small"]).await;
    client.delete_tag(API, "bigger").await;
    client.delete_manifest(API, &large, &["big"]).await;
    client.delete_manifest(API, &small, &["small"]).await;
    for layer in &own {
        client.delete_blob(API, layer).await;
    }
    // And back again.
    client.push_blob(API, content(20, 300)).await;
    client.push_image(API, &own[..1], None, 0, &["small"]).await;
}

async fn tenancy(client: &Client) {
    client.set_role(ORGANISATION, "user:ann", Some(Role::Writer)).await;
    client.set_quota(ORGANISATION, Some(1 << 20)).await;
    client.set_role(ORGANISATION, "user:ann", Some(Role::Admin)).await;
    client.set_role(ORGANISATION, "user:ann", None).await;
    client.create_registry(ORGANISATION, "more").await;
    client.rename_registry(ORGANISATION, "more", "renamed").await;
    client.delete_registry(ORGANISATION, "renamed", false).await;
    client.create_organisation("other").await;
    client.create_registry("other", "main").await;
    let digest = client.push_blob("other/main/x", content(40, 900)).await;
    let items = vec![
        Item::Blob("other/main/x".to_owned(), digest),
        Item::Registry("other".to_owned(), "main".to_owned()),
        Item::Member("other".to_owned(), "user:tester".to_owned()),
    ];
    client.delete_organisation("other", items).await;
}

async fn refused_deletions(client: &Client) {
    client.refused_to_delete(ORGANISATION, None).await;
    client.refused_to_delete(ORGANISATION, Some("main")).await;
    client.push_blob(API, content(50, 50)).await;
}

async fn side_by_side(client: &Client) {
    let layers = [sha256(&content(10, 300)), sha256(&content(11, 5000))];
    let upload = async {
        let bytes = content(50, 9000);
        let id = client.start(WEB, &bytes).await;
        client.append(WEB, id, &bytes, 0, 9000).await;
        client.finish(WEB, id, &bytes, Algorithm::Sha256).await;
    };
    let same = async {
        client.push_blob(API, content(50, 9000)).await;
        client.push_image(API, &layers, None, 1, &["raced"]).await;
    };
    let other = async {
        client.push_image(API, &layers, None, 2, &["raced", "own"]).await;
        client.push_image(API, &layers, None, 3, &["raced"]).await;
    };
    join!(upload, same, other);
}

async fn collection(client: &Client) {
    let own = layers(client, API, 60).await;
    let large = client.push_image(API, &own, None, 2000, &["big"]).await;
    client.delete_manifest(API, &large, &["big"]).await;
    client.mount(&own[0], API, WEB).await;
    let started = content(70, 4000);
    let expired = client.start(API, &started).await;
    client.append(API, expired, &started, 0, 3500).await;
    client.advance(LEASE + Duration::from_secs(1));
    client.expired(API, expired);
    let blob = |path: &str, digest| Item::Blob(path.to_owned(), digest);
    client.collect(vec![blob(API, own[0]), blob(API, own[1]), blob(WEB, own[0])]).await;
    // What is on its way out is pushed again, and named.
    client.push_blob(API, content(60, 300)).await;
    client.push_image(API, &own[..1], None, 0, &["kept"]).await;
    client.advance(DELETE_DELAY);
    client.collect(Vec::new()).await;
    client.push_blob(API, content(61, 5000)).await;
}

async fn tenant_collection(client: &Client) {
    client.create_organisation("other").await;
    client.create_registry("other", "main").await;
    let path = "other/main/x";
    let own = layers(client, path, 80).await;
    let image = client.push_image(path, &own, None, 0, &["v1"]).await;
    let (other, main) = ("other".to_owned(), "main".to_owned());
    let items = vec![
        Item::Blob(path.to_owned(), own[0]),
        Item::Blob(path.to_owned(), own[1]),
        Item::Manifest(path.to_owned(), image),
        tag(path, "v1"),
        Item::Registry(other.clone(), main),
        Item::Member(other, "user:tester".to_owned()),
    ];
    client.delete_organisation("other", items).await;
    client.collect(Vec::new()).await;
}

async fn compaction(client: &Client) {
    let layers = [sha256(&content(10, 300)), sha256(&content(11, 5000))];
    for padding in 1..6 {
        let digest = client.push_image(API, &layers, None, padding * 100, &["x"]).await;
        client.delete_manifest(API, &digest, &["x"]).await;
    }
    client.compact().await;
    client.push_image(API, &layers, None, 9, &["after"]).await;
}

async fn copies(client: &Client) {
    let layers = [sha256(&content(10, 300)), sha256(&content(11, 5000))];
    let first = client.push_image(API, &layers, None, 1, &["v1"]).await;
    client.push_image(API, &layers, None, 2, &["v2"]).await;
    client.copy().await;
    // The same in another repository has the same copy; what is deleted has none any more.
    for layer in &layers {
        client.mount(layer, API, WEB).await;
    }
    client.push_image(WEB, &layers, None, 1, &["v1"]).await;
    client.delete_manifest(API, &first, &["v1"]).await;
    client.copy().await;
    client.delete_manifest(WEB, &first, &["v1"]).await;
    client.collect(Vec::new()).await;
    client.push_image(API, &layers, None, 1, &["back"]).await;
    client.copy().await;
}

async fn old_image(client: &Client) {
    image(client).await;
    client.age().await;
}

async fn migration(client: &Client) {
    client.start_again().await;
    let layers = [sha256(&content(10, 300)), sha256(&content(11, 5000))];
    client.push_image(API, &layers, None, 1, &["after"]).await;
}
