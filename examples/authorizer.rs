//! Your own answer to who may do what.
//!
//!     cargo run -p strongroom-examples --example authorizer
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use strongroom_engine::access::{Action, Authorizer, Caller, Decision, Principal, Target};
use strongroom_engine::content::fs::{Durability, FsStore};
use strongroom_engine::disk::RealDisk;
use strongroom_engine::meta::RedbStore;
use strongroom_engine::seam::SystemClock;
use strongroom_engine::{Engine, Error};
use strongroom_examples::{caller, found, push_blob, repository};

/// A house rule: everybody has the repositories below their own name, everybody may pull what is
/// below `shared/`, and `user:root` may do everything.
#[derive(Debug)]
struct OwnNames;

#[async_trait]
impl Authorizer for OwnNames {
    async fn decide(
        &self,
        caller: &Caller,
        action: Action,
        target: &Target<'_>,
    ) -> Result<Decision, Error> {
        // The ceiling is what the caller's token was issued for. Every authorizer applies it itself.
        if !caller.ceiling.allows(action, target) {
            return Ok(Decision::Hidden);
        }
        let Principal::Known(id) = &caller.principal else { return Ok(Decision::Hidden) };
        let name = id.as_str().trim_start_matches("user:");
        if name == "root" {
            return Ok(Decision::Allowed);
        }
        // Without a repository it is about an organisation or a registry: root's alone.
        let Some(repository) = target.repository else { return Ok(Decision::Hidden) };
        let first = repository.as_str().split('/').next().unwrap_or_default();
        Ok(match first {
            own if own == name => Decision::Allowed,
            "shared" if matches!(action, Action::List | Action::Pull) => Decision::Allowed,
            // Who may read there may know that it is there; anybody else's answers as absent.
            "shared" => Decision::Denied,
            _ => Decision::Hidden,
        })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    run(folder.path()).await
}

/// Does it all in `folder`.
pub(crate) async fn run(folder: &Path) -> Result<()> {
    let blobs = FsStore::open(Arc::new(RealDisk), folder, Durability::Full)?;
    let meta = RedbStore::open(folder.join("meta.redb"), Arc::new(SystemClock))?;
    let engine = Engine::builder(Arc::new(meta), Arc::new(blobs));
    let engine = engine.authorizer(Arc::new(OwnNames)).build().await?;
    let (root, ann, bob) = (caller("root")?, caller("ann")?, caller("bob")?);
    found(&engine, &root).await?;

    let own = repository(&engine, &ann, "ann/notes", Action::Push).await?;
    println!("ann pushes to ann/notes: {}", push_blob(&own, b"dear diary").await?);

    // The question is asked where a repository is opened; the handle is the proof, so there is no
    // way to content around it.
    let denied = repository(&engine, &ann, "shared/tools", Action::Push).await;
    println!("ann pushes to shared/tools: {}", refusal(denied)?);
    let hidden = repository(&engine, &bob, "ann/notes", Action::Pull).await;
    println!("bob pulls from ann/notes: {}", refusal(hidden)?);
    Ok(())
}

fn refusal<T>(answer: Result<T>) -> Result<String> {
    match answer {
        Ok(_) => anyhow::bail!("the house rule does not hold"),
        Err(error) => Ok(error.to_string()),
    }
}
