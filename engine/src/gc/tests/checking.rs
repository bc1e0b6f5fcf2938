//! `fsck` is clean after each walk, and finds each damage that is planted.

use bytes::Bytes;

use super::{ACME, collect_all};
use crate::access::Action;
use crate::change::{Change, Seen};
use crate::digest::Digest;
use crate::gc::{FsckOptions, FsckReport, Invariant};
use crate::id::{Number, OrganisationId, RegistryId, RepositoryId, SessionId};
use crate::keys;
use crate::meta::{Commit, CommitId, Key, log, prefix_range};
use crate::records::{
    BlobRecord, BlobState, Body, LinkRecord, ManifestRecord, NameRecord, OrganisationRecord,
    Record, TagRecord,
};
use crate::tests::support::{World, body, image, sha256};

async fn fsck(world: &World) -> FsckReport {
    world.engine.fsck(&FsckOptions::default().deep(), &|_| {}).await.unwrap()
}

/// An image, pushed and tagged, and where its rows are.
struct Scene {
    world: World,
    home: RepositoryId,
    manifest: Digest,
    number: Number,
    layer: Digest,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let manifest = world.push_image("api", b"a layer", "v1").await;
        let core = &world.engine.core;
        let name = keys::repository_name(ACME, RegistryId(2), "api");
        let Some(NameRecord::Live(home)) = core.read(name).await.unwrap().value else { panic!() };
        let home = RepositoryId(home);
        let link: Seen<LinkRecord> = core.read(keys::link(ACME, &manifest, home)).await.unwrap();
        let number = link.value.unwrap().number;
        let scene = Self { home, manifest, number, layer: sha256(b"a layer"), world };
        let report = fsck(&scene.world).await;
        assert!(report.is_clean(), "{:?}", report.findings);
        assert_eq!((report.counts.manifests, report.counts.tags), (1, 1));
        scene
    }

    async fn write(&self, key: Key, value: Option<Bytes>) {
        let mut commit = Commit::new(CommitId(self.world.engine.core.seams.random_16()));
        match value {
            Some(value) => commit.put.push((key, value)),
            None => commit.delete.push(key),
        }
        self.world.engine.core.meta.commit(commit).await.unwrap();
    }

    async fn edit<T: Record>(&self, key: Key, edit: impl FnOnce(&mut T)) {
        let mut record = self.world.engine.core.read(key.clone()).await.unwrap().value.unwrap();
        edit(&mut record);
        self.write(key, Some(record.encode())).await;
    }

    async fn object(&self) -> crate::content::ObjectKey {
        let key = keys::blob(ACME, &self.layer);
        let blob: Seen<BlobRecord> = self.world.engine.core.read(key).await.unwrap();
        blob.value.unwrap().object(ACME, &self.layer)
    }

    async fn finds(&self, invariant: Invariant) {
        let report = fsck(&self.world).await;
        let found = report.findings.iter().any(|finding| finding.invariant == invariant);
        assert!(found, "{invariant} is not among {:?}", report.findings);
    }
}

#[tokio::test]
async fn it_is_clean_after_pushes_deletes_uploads_and_collections() {
    let world = World::new().await;
    let clean = async || {
        let report = fsck(&world).await;
        assert!(report.is_clean(), "{:?}", report.findings);
        report.counts
    };
    clean().await;
    world.push_image("api", b"a layer", "v1").await;
    let second = world.push_image("api", b"another", "v1").await;
    world.push_blob("web", b"loose").await;
    let repository = world.open("api", Action::Push).await.unwrap();
    repository.start_upload(None, Some(100)).await.unwrap();
    let counts = clean().await;
    assert_eq!((counts.manifests, counts.tags, counts.uploads.bytes), (2, 1, 100));
    let repository = world.open("api", Action::Delete).await.unwrap();
    repository.delete_manifest(&second).await.unwrap();
    clean().await;
    collect_all(&world).await;
    let counts = clean().await;
    assert_eq!((counts.contents.count, counts.objects.count, counts.links), (2, 3, 3));
}

#[tokio::test]
async fn an_object_that_is_gone_breaks_i1() {
    let scene = Scene::new().await;
    scene.world.engine.core.blobs.delete(&scene.object().await).await.unwrap();
    scene.finds(Invariant::I1).await;
}

#[tokio::test]
async fn an_object_of_another_size_breaks_i1() {
    let scene = Scene::new().await;
    let short = Bytes::from_static(b"a lay");
    scene.world.engine.core.blobs.put(&scene.object().await, short).await.unwrap();
    scene.finds(Invariant::I1).await;
}

#[tokio::test]
async fn a_flipped_bit_breaks_i1() {
    let scene = Scene::new().await;
    let other = Bytes::from_static(b"a laxer");
    scene.world.engine.core.blobs.put(&scene.object().await, other).await.unwrap();
    scene.finds(Invariant::I1).await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_breaks_i1() {
    let scene = Scene::new().await;
    scene.write(keys::blob(ACME, &scene.layer), Some(Bytes::from_static(b"?"))).await;
    scene.finds(Invariant::I1).await;
}

#[tokio::test]
async fn a_missing_content_row_breaks_i1() {
    let scene = Scene::new().await;
    scene.write(keys::blob(ACME, &scene.layer), None).await;
    scene.finds(Invariant::I1).await;
}

#[tokio::test]
async fn linked_content_on_its_way_out_breaks_i1() {
    let scene = Scene::new().await;
    let since = crate::seam::Timestamp(1);
    scene
        .edit(keys::blob(ACME, &scene.layer), |blob: &mut BlobRecord| {
            blob.state = BlobState::Deleting { since };
        })
        .await;
    scene.finds(Invariant::I1).await;
}

#[tokio::test]
async fn other_bytes_in_a_manifest_break_i1() {
    let scene = Scene::new().await;
    scene
        .edit(keys::manifest(ACME, scene.home, scene.number), |manifest: &mut ManifestRecord| {
            manifest.body = Body::Inline(b"{}".to_vec());
        })
        .await;
    scene.finds(Invariant::I1).await;
}

#[tokio::test]
async fn a_missing_link_to_a_layer_breaks_i2() {
    let scene = Scene::new().await;
    scene.write(keys::link(ACME, &scene.layer, scene.home), None).await;
    scene.finds(Invariant::I2).await;
}

#[tokio::test]
async fn a_layer_that_is_no_blob_any_more_breaks_i2() {
    let scene = Scene::new().await;
    scene
        .edit(keys::link(ACME, &scene.layer, scene.home), |link: &mut LinkRecord| {
            link.blob = false;
        })
        .await;
    scene.finds(Invariant::I2).await;
}

#[tokio::test]
async fn a_missing_edge_breaks_i2() {
    let scene = Scene::new().await;
    let core = &scene.world.engine.core;
    let link: Seen<LinkRecord> =
        core.read(keys::link(ACME, &scene.layer, scene.home)).await.unwrap();
    let child = link.value.unwrap().number;
    scene.write(keys::edge(ACME, scene.home, child, scene.number), None).await;
    scene.finds(Invariant::I2).await;
}

#[tokio::test]
async fn a_manifest_without_a_link_breaks_i2() {
    let scene = Scene::new().await;
    scene.write(keys::link(ACME, &scene.manifest, scene.home), None).await;
    scene.finds(Invariant::I2).await;
}

#[tokio::test]
async fn a_tag_of_a_manifest_that_is_not_there_breaks_i3() {
    let scene = Scene::new().await;
    scene
        .edit(keys::tag(ACME, scene.home, "v1"), |tag: &mut TagRecord| tag.number = Number(9))
        .await;
    scene.finds(Invariant::I3).await;
}

#[tokio::test]
async fn a_tag_that_its_manifest_does_not_know_breaks_i3() {
    let scene = Scene::new().await;
    scene.write(keys::tag_of(ACME, scene.home, scene.number, "v1"), None).await;
    scene.finds(Invariant::I3).await;
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_breaks_i4() {
    let scene = Scene::new().await;
    let key = keys::repository_name(ACME, RegistryId(2), "api");
    scene.write(key, Some(NameRecord::Live(77).encode())).await;
    scene.finds(Invariant::I4).await;
}

#[tokio::test]
async fn an_organisation_without_its_record_breaks_i4() {
    let scene = Scene::new().await;
    scene.write(keys::organisation(ACME), None).await;
    scene.finds(Invariant::I4).await;
}

#[tokio::test]
async fn a_counter_that_is_off_by_one_breaks_i5() {
    let scene = Scene::new().await;
    let mut change = Change::new(&scene.world.engine.core);
    change.use_bytes(ACME, 1, None);
    change.commit().await.unwrap();
    scene.finds(Invariant::I5).await;
}

#[tokio::test]
async fn an_edge_of_no_manifest_breaks_i6() {
    let scene = Scene::new().await;
    let edge = keys::edge(ACME, scene.home, Number(1), Number(2));
    scene.write(edge, Some(Bytes::new())).await;
    scene.finds(Invariant::I6).await;
}

#[tokio::test]
async fn an_altered_line_of_the_trail_breaks_i7() {
    let scene = Scene::new().await;
    let core = &scene.world.engine.core;
    let range = prefix_range(&keys::audit_chain(ACME, core.chain));
    let rows = core.meta.scan(range, 2).await.unwrap();
    let (key, value) = rows.first().cloned().unwrap();
    let (hash, entry) = log::decode(&value).unwrap();
    let mut entry = entry.to_vec();
    *entry.last_mut().unwrap() ^= 1;
    scene.write(key, Some(log::encode(&hash, &entry))).await;
    scene.finds(Invariant::I7).await;
}

#[tokio::test]
async fn objects_that_nobody_names_are_counted() {
    let scene = Scene::new().await;
    let key = keys::object::settled(ACME, &sha256(b"lost"), SessionId([7; 16]));
    scene.world.engine.core.blobs.put(&key, Bytes::from_static(b"lost")).await.unwrap();
    let report = fsck(&scene.world).await;
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((report.counts.garbage.count, report.counts.garbage.bytes), (1, 4));
}

#[tokio::test]
async fn an_upload_whose_bytes_are_gone_breaks_i1() {
    let scene = Scene::new().await;
    let repository = scene.world.open("api", Action::Push).await.unwrap();
    let upload = repository.start_upload(None, None).await.unwrap();
    let chunk = crate::Chunk { at: None, length: Some(5) };
    repository.append(upload.id, chunk, body(b"12345")).await.unwrap();
    let report = fsck(&scene.world).await;
    assert!(report.is_clean(), "{:?}", report.findings);
    let core = &scene.world.engine.core;
    let prefix = keys::object::in_flight(ACME, upload.id);
    for entry in core.blobs.list(prefix.as_str(), None, 10).await.unwrap() {
        core.blobs.delete(&entry.key).await.unwrap();
    }
    scene.finds(Invariant::I1).await;
}

#[tokio::test]
async fn a_membership_without_a_member_breaks_i4() {
    let scene = Scene::new().await;
    scene.write(keys::membership("user:ghost", ACME), Some(Bytes::new())).await;
    scene.finds(Invariant::I4).await;
}

#[tokio::test]
async fn a_membership_in_no_organisation_breaks_i4() {
    let scene = Scene::new().await;
    scene.write(keys::membership("user:ghost", OrganisationId(99)), Some(Bytes::new())).await;
    scene.finds(Invariant::I4).await;
}

#[tokio::test]
async fn a_count_of_admins_that_is_off_breaks_i4() {
    let scene = Scene::new().await;
    scene
        .edit(keys::organisation(ACME), |organisation: &mut OrganisationRecord| {
            organisation.admins += 1;
        })
        .await;
    scene.finds(Invariant::I4).await;
}

#[tokio::test]
async fn a_record_in_no_namespace_breaks_i4() {
    let scene = Scene::new().await;
    scene.write(keys::extension("own", b"key"), Some(Bytes::new())).await;
    let report = fsck(&scene.world).await;
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.counts.extension_records, 1);
    scene.write(b"x\0key".to_vec(), Some(Bytes::new())).await;
    scene.finds(Invariant::I4).await;
}

#[tokio::test]
async fn a_large_manifest_whose_layer_has_another_size_breaks_i2() {
    let world = World::new().await;
    let config = world.push_blob("api", b"{}").await;
    let layer = world.push_blob("api", b"a layer").await;
    let large = image(&config, 2, &layer, 7).replace('{', &format!("{{{}", " ".repeat(1024)));
    world.push_manifest("api", &large, &[]).await.unwrap();
    let name = keys::repository_name(ACME, RegistryId(2), "api");
    let core = &world.engine.core;
    let Some(NameRecord::Live(home)) = core.read(name).await.unwrap().value else { panic!() };
    let key = keys::link(ACME, &layer, RepositoryId(home));
    let link: Seen<LinkRecord> = core.read(key).await.unwrap();
    let record = link.value.clone().unwrap();
    assert!(fsck(&world).await.is_clean());
    let mut change = Change::new(core);
    change.replace(&link, &LinkRecord { size: 8, ..record });
    change.commit().await.unwrap();
    let findings = fsck(&world).await.findings;
    assert!(findings.iter().any(|finding| finding.invariant == Invariant::I2), "{findings:?}");
}

#[tokio::test]
async fn what_was_pushed_without_a_line_breaks_i7() {
    for thing in ["a blob of a repository", "a manifest", "a tag"] {
        let scene = Scene::new().await;
        let home = scene.home;
        match thing {
            "a tag" => {
                let (digest, number) = (scene.manifest, scene.number);
                let tag = TagRecord { digest, number, pushed_at: crate::seam::Timestamp(1) };
                scene.write(keys::tag(ACME, home, "v2"), Some(tag.encode())).await;
                let back = keys::tag_of(ACME, home, number, "v2");
                scene.write(back, Some(Bytes::new())).await;
            }
            "a manifest" => {
                let key = keys::manifest(ACME, home, scene.number);
                let own = scene.world.engine.core.read(key).await.unwrap().value.unwrap();
                let other = ManifestRecord { digest: sha256(b"another"), ..own };
                let key = keys::manifest(ACME, home, Number(77));
                scene.write(key, Some(other.encode())).await;
            }
            _ => {
                let key = keys::link(ACME, &scene.manifest, home);
                scene.edit(key, |link: &mut LinkRecord| link.blob = true).await;
            }
        }
        let findings = fsck(&scene.world).await.findings;
        let told = findings.iter().any(|finding| {
            finding.invariant == Invariant::I7 && finding.what.starts_with(&format!("{thing} is"))
        });
        assert!(told, "{thing}: {findings:?}");
    }
}
