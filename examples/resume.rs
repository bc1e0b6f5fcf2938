//! An upload that goes on after its process is gone.
//!
//!     cargo run -p strongroom-examples --example resume
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use anyhow::Result;
use strongroom_engine::access::Action;
use strongroom_engine::{Chunk, Error};
use strongroom_examples::{body, caller, found, open, repository, sha256};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    run(folder.path()).await
}

/// Does it all in `folder`.
pub(crate) async fn run(folder: &Path) -> Result<()> {
    let bytes = b"what is worth keeping ".repeat(50_000);
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let me = caller("me")?;

    // The first process. Its upload's id is all that anybody has to remember.
    let id = {
        let engine = open(folder).await?;
        found(&engine, &me).await?;
        let repository = repository(&engine, &me, "films", Action::Push).await?;
        let upload = repository.start_upload(None, None).await?;
        let upload = repository.append(upload.id, Chunk::default(), body(first)).await?;
        println!("upload {} has {} of {} bytes", upload.id, upload.offset, bytes.len());
        upload.id
        // Everything is dropped here without a word, as a kill would. What `append` reported is on
        // the disk, with the state of the hash, so nothing is read again later.
    };

    // The second process asks how the upload stands and sends the rest.
    let engine = open(folder).await?;
    let repository = repository(&engine, &me, "films", Action::Push).await?;
    let upload = repository.upload(id).await?;
    println!("after the restart it stands at byte {}", upload.offset);

    // Whoever is wrong about that is told the right offset, and nothing is written.
    let wrong = Chunk { at: Some(upload.offset + 1), length: None };
    match repository.append(id, wrong, body(rest)).await {
        Err(Error::OutOfOrder { offset, at }) => {
            println!("a chunk for byte {at} is refused: go on from {offset}");
        }
        other => anyhow::bail!("a chunk in the wrong place was answered with {other:?}"),
    }

    let right = Chunk { at: Some(upload.offset), length: Some(u64::try_from(rest.len())?) };
    repository.append(id, right, body(rest)).await?;
    let blob = repository.finish_upload(id, &sha256(&bytes)).await?;
    println!("finished as {} ({} bytes)", blob.digest, blob.size);

    // The answer may have got lost on its way. Finishing again is answered the same.
    anyhow::ensure!(repository.finish_upload(id, &blob.digest).await? == blob);
    Ok(())
}
