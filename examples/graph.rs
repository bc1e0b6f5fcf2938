//! The graph of references: an index names manifests, manifests name blobs, others refer to them.
//!
//!     cargo run -p strongroom-examples --example graph
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use anyhow::Result;
use strongroom_engine::access::Action;
use strongroom_engine::digest::Digest;
use strongroom_engine::name::Reference;
use strongroom_engine::{Error, Repository};
use strongroom_examples::{
    IMAGE, INDEX, artifact, caller, found, open, push_blob, push_manifest, repository,
};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    run(folder.path()).await
}

/// Does it all in `folder`.
pub(crate) async fn run(folder: &Path) -> Result<()> {
    let me = caller("me")?;
    let engine = open(folder).await?;
    found(&engine, &me).await?;

    // From the leaves up, since everything that is named must be there: blobs, manifests, index.
    let push = repository(&engine, &me, "app", Action::Push).await?;
    push_blob(&push, b"{}").await?;
    // A handle is for one request, and the first push has made the repository.
    let push = repository(&engine, &me, "app", Action::Push).await?;
    let mut entries = Vec::new();
    for platform in ["amd64", "arm64"] {
        let layer = format!("the program for {platform}");
        let digest = push_blob(&push, layer.as_bytes()).await?;
        let manifest = artifact("application/vnd.example.app", &digest, layer.len(), "");
        let digest = push_manifest(&push, IMAGE, &manifest, &[]).await?;
        entries.push(format!(
            r#"{{"mediaType": "{IMAGE}", "digest": "{digest}", "size": {},
            "platform": {{"os": "linux", "architecture": "{platform}"}}}}"#,
            manifest.len()
        ));
    }
    let index = format!(
        r#"{{"schemaVersion": 2, "mediaType": "{INDEX}", "manifests": [{}]}}"#,
        entries.join(",")
    );
    let root = push_manifest(&push, INDEX, &index, &["1.0"]).await?;

    // A signature or a bill of materials names what it is about as its subject. Nothing about the
    // subject changes, and it need not even be there.
    let sbom = push_blob(&push, b"what is in it").await?;
    let subject = format!(
        r#", "subject": {{"mediaType": "{INDEX}", "digest": "{root}", "size": {}}}"#,
        index.len()
    );
    let sbom = artifact("application/vnd.example.sbom", &sbom, 13, &subject);
    push_manifest(&push, IMAGE, &sbom, &[]).await?;

    // Down from the tag.
    let pull = repository(&engine, &me, "app", Action::Pull).await?;
    let manifests = show(&pull, &root).await?;
    for referrer in pull.referrers(&root, None, None, 100).await?.items {
        println!("refers to it: {} ({:?})", short(&referrer.digest), referrer.artifact_type);
    }

    // What an index names stays as long as the index does …
    let delete = repository(&engine, &me, "app", Action::Delete).await?;
    let Some(child) = manifests.first() else { anyhow::bail!("the index names nothing") };
    match delete.delete_manifest(child).await {
        Err(Error::InUse { by, .. }) => {
            println!("{} stays: {} name it", short(child), by.len());
        }
        other => anyhow::bail!("deleting what is named was answered with {other:?}"),
    }
    // … and goes once that is deleted, with its tags. Its referrers stay.
    delete.delete_manifest(&root).await?;
    delete.delete_manifest(child).await?;
    println!(
        "deleted the index and one manifest; tags left: {}",
        pull.tags(None, 10).await?.items.len()
    );
    anyhow::ensure!(pull.referrers(&root, None, None, 100).await?.items.len() == 1);
    Ok(())
}

/// Prints an index with what it names; returns the manifests.
async fn show(repository: &Repository, root: &Digest) -> Result<Vec<Digest>> {
    let index = repository.manifest(&"1.0".parse()?).await?;
    anyhow::ensure!(index.digest == *root);
    println!("1.0 is {} ({})", short(root), index.media_type);
    for child in &index.children {
        let manifest = repository.manifest(&Reference::Digest(*child)).await?;
        let blobs: Vec<_> = manifest.children.iter().map(short).collect();
        println!("  {} names {blobs:?}", short(child));
    }
    Ok(index.children.clone())
}

fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}
