//! Indexes inside indexes, subjects of subjects, and what goes along with what is deleted.

use bytes::Bytes;

use super::support::{World, sha256};
use crate::access::Action;
use crate::digest::Digest;
use crate::gc::FsckOptions;
use crate::manifest::ManifestError;
use crate::name::Reference;
use crate::{Error, ManifestPush};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An index of `children`, about `subject`, that no other `number` has.
fn index(children: &[(Digest, usize)], subject: Option<Digest>, number: usize) -> String {
    let descriptor = |(digest, size): &(Digest, usize)| {
        format!(r#"{{"mediaType":"{INDEX}","digest":"{digest}","size":{size}}}"#)
    };
    let children: Vec<_> = children.iter().map(descriptor).collect();
    let subject = subject.map(|subject| format!(r#""subject":{},"#, descriptor(&(subject, 9))));
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","artifactType":"application/vnd.example.{number}",{}"manifests":[{}]}}"#,
        subject.unwrap_or_default(),
        children.join(",")
    )
}

async fn push(world: &World, manifest: &str, tags: &[&str]) -> Result<(Digest, usize), Error> {
    let push = ManifestPush {
        bytes: Bytes::copy_from_slice(manifest.as_bytes()),
        content_type: Some(INDEX.to_owned()),
        digest: None,
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
    };
    let repository = world.open("api", Action::Push).await?;
    Ok((repository.push_manifest(&push).await?.digest, manifest.len()))
}

fn is_refused(result: &Result<(Digest, usize), Error>, at: &str, most: usize) {
    let Err(Error::Manifest(ManifestError::TooMany { path, max, .. })) = result else {
        panic!("{result:?}")
    };
    assert_eq!((path.as_str(), *max), (at, most));
}

async fn is_there(world: &World, digest: &Digest) -> bool {
    let repository = world.open("api", Action::Pull).await.unwrap();
    repository.stat_manifest(&Reference::Digest(*digest)).await.is_ok()
}

async fn is_clean(world: &World) {
    let report = world.engine.fsck(&FsckOptions::default().deep(), &|_| {}).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

#[tokio::test]
async fn threat_c6_indexes_nest_as_deep_as_is_taken_and_no_deeper() {
    let world = World::new().await;
    let mut last = push(&world, &index(&[], None, 0), &[]).await.unwrap();
    for number in 1..8 {
        last = push(&world, &index(&[last], None, number), &[]).await.unwrap();
    }
    let deeper = push(&world, &index(&[last], None, 8), &[]).await;
    is_refused(&deeper, "$.manifests", 8);
    // What was there before may be pushed again, and side by side is not deep.
    let other = push(&world, &index(&[], None, 9), &[]).await.unwrap();
    push(&world, &index(&[other], None, 10), &["wide"]).await.unwrap();
}

#[tokio::test]
async fn a_sparse_index_does_not_hide_how_deep_it_is() {
    let world = World::new().await;
    world.set_sparse().await;
    // From the outermost to the innermost: each names what is not there yet.
    let mut texts = vec![index(&[], None, 0)];
    for number in 1..9 {
        let inner = texts.last().unwrap();
        texts.push(index(&[(sha256(inner.as_bytes()), inner.len())], None, number));
    }
    for text in texts.iter().skip(1).rev() {
        push(&world, text, &[]).await.unwrap();
    }
    is_refused(&push(&world, &texts[0], &[]).await, "$.manifests", 8);
    // And what came late is counted from above.
    let whole = World::new().await;
    whole.set_sparse().await;
    push(&whole, &texts[3], &[]).await.unwrap();
    for text in &texts[..3] {
        push(&whole, text, &[]).await.unwrap();
    }
    for text in &texts[4..8] {
        push(&whole, text, &[]).await.unwrap();
    }
    is_refused(&push(&whole, &texts[8], &[]).await, "$.manifests", 8);
}

#[tokio::test]
async fn threat_c6_subjects_are_chained_as_far_as_is_taken_from_either_end() {
    let world = World::new().await;
    let mut texts = vec![index(&[], None, 0)];
    for number in 1..=17 {
        let subject = sha256(texts.last().unwrap().as_bytes());
        texts.push(index(&[], Some(subject), number));
    }
    for text in &texts[..17] {
        push(&world, text, &[]).await.unwrap();
    }
    is_refused(&push(&world, &texts[17], &[]).await, "$.subject", 16);
    let backwards = World::new().await;
    for text in texts[2..].iter().rev() {
        push(&backwards, text, &[]).await.unwrap();
    }
    is_refused(&push(&backwards, &texts[1], &[]).await, "$.subject", 16);
}

#[tokio::test]
async fn untagged_referrers_go_along_and_tagged_and_named_ones_stay() {
    let world = World::new().await;
    let about = |subject: Digest, number| index(&[], Some(subject), number);
    let (image, _) = push(&world, &index(&[], None, 0), &["v1"]).await.unwrap();
    let (signature, _) = push(&world, &about(image, 1), &[]).await.unwrap();
    let (of_signature, _) = push(&world, &about(signature, 2), &[]).await.unwrap();
    let (tagged, _) = push(&world, &about(image, 3), &["sbom"]).await.unwrap();
    let (of_tagged, _) = push(&world, &about(tagged, 4), &[]).await.unwrap();
    let named = push(&world, &about(image, 5), &[]).await.unwrap();
    push(&world, &index(&[named], None, 6), &["list"]).await.unwrap();
    let repository = world.open("api", Action::Delete).await.unwrap();
    assert_eq!(repository.delete_manifest_with_referrers(&image).await.unwrap(), 2);
    for gone in [image, signature, of_signature] {
        assert!(!is_there(&world, &gone).await);
    }
    for kept in [tagged, of_tagged, named.0] {
        assert!(is_there(&world, &kept).await);
    }
    is_clean(&world).await;
}

#[tokio::test]
async fn a_manifest_that_an_index_names_keeps_its_referrers() {
    let world = World::new().await;
    let image = push(&world, &index(&[], None, 0), &[]).await.unwrap();
    push(&world, &index(&[image], None, 1), &["list"]).await.unwrap();
    let (signature, _) = push(&world, &index(&[], Some(image.0), 2), &[]).await.unwrap();
    let repository = world.open("api", Action::Delete).await.unwrap();
    let refused = repository.delete_manifest_with_referrers(&image.0).await;
    assert!(matches!(refused, Err(Error::InUse { .. })), "{refused:?}");
    assert!(is_there(&world, &signature).await);
}

#[tokio::test]
async fn a_deletion_that_broke_off_before_the_referrers_is_gone_on_with() {
    let world = World::new().await;
    let (image, _) = push(&world, &index(&[], None, 0), &["v1"]).await.unwrap();
    let (signature, _) = push(&world, &index(&[], Some(image), 1), &[]).await.unwrap();
    let repository = world.open("api", Action::Delete).await.unwrap();
    repository.delete_manifest(&image).await.unwrap();
    assert!(is_there(&world, &signature).await);
    assert_eq!(repository.delete_manifest_with_referrers(&image).await.unwrap(), 1);
    let again = repository.delete_manifest_with_referrers(&image).await;
    assert!(matches!(again, Err(Error::ManifestUnknown { .. })), "{again:?}");
}
