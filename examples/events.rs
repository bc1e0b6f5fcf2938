//! Hearing of changes as they happen, and reading the trail later.
//!
//!     cargo run -p strongroom-examples --example events
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use anyhow::Result;
use strongroom_engine::access::Action;
use strongroom_engine::audit::TrailQuery;
use strongroom_examples::{
    IMAGE, artifact, caller, found, open, push_blob, push_manifest, repository,
};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    run(folder.path()).await
}

/// Does it all in `folder`.
pub(crate) async fn run(folder: &Path) -> Result<()> {
    let me = caller("me")?;
    let cursor = {
        let engine = open(folder).await?;
        // A subscriber hears of each change once it is durable: for a screen, or to wake a worker.
        let mut events = engine.subscribe();
        found(&engine, &me).await?;
        let push = repository(&engine, &me, "app", Action::Push).await?;
        push_blob(&push, b"{}").await?;
        let layer = push_blob(&push, b"the app").await?;
        let manifest = artifact("application/vnd.example.app", &layer, 7, "");
        // A handle is for one request.
        let push = repository(&engine, &me, "app", Action::Push).await?;
        push_manifest(&push, IMAGE, &manifest, &["1.0"]).await?;
        while let Ok(event) = events.try_recv() {
            println!("heard    {:?} by {}", event.kind.name(), event.principal);
        }

        // A subscription ends with its process, and whoever is slow misses some. The trail does not:
        // each line is committed together with the change it tells of. Reading from the oldest line
        // on, the cursor is all that has to be kept.
        let all = TrailQuery { oldest_first: true, ..TrailQuery::default() };
        let page = engine.trail(&me, Some(&"acme".parse()?), &all, None, 100).await?;
        for line in &page.items {
            println!("trail    {} {}", line.sequence, line.event.kind.name());
        }
        page.next
    };

    // Later, in another process: only what has happened since.
    let engine = open(folder).await?;
    let repository = repository(&engine, &me, "app", Action::Delete).await?;
    repository.delete_tag(&"1.0".parse()?).await?;
    let all = TrailQuery { oldest_first: true, ..TrailQuery::default() };
    let page = engine.trail(&me, Some(&"acme".parse()?), &all, cursor.as_deref(), 100).await?;
    let since: Vec<_> = page.items.iter().map(|line| line.event.kind.name()).collect();
    println!("since    {since:?}");
    anyhow::ensure!(since == ["tag_deleted"]);

    // The lines are chained by hashes, so that a removed or altered one shows.
    let found = engine.verify_trail(&me, Some(&"acme".parse()?)).await?;
    println!("verified {} lines in {} chains", found.lines, found.heads.len());
    anyhow::ensure!(found.problems.is_empty());
    Ok(())
}
