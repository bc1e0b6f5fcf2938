//! The group `s3`: the engine over a bucket, against a plain client of the same service in the same run,
//! in turn with it; and the registry on S3 against another one. `cargo xtask bench s3` installs the
//! services and says where they are.

mod bare;
mod peer;
mod push;
mod small;

use std::process::Command;

use anyhow::{Context, Result, ensure};
use strongroom_s3_testing::{S3Kind, Server};

use crate::{Part, Report};

const MIB: usize = 1 << 20;
/// The blob that is pushed and pulled.
const LARGE: usize = 512 * MIB;
/// How often each is measured; the services copy on a disk that is no faster for it.
const ROUNDS: usize = 3;

/// What the group measures.
pub const PARTS: &[Part] = &[("buckets", run)];

fn run(report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    {
        let server = runtime.block_on(Server::start(S3Kind::Minio));
        peer::run(report, &server)?;
    }
    runtime.block_on(async {
        for (kind, name) in [(S3Kind::Minio, "MinIO"), (S3Kind::Versity, "versitygw")] {
            let server = Server::start(kind).await;
            push::run(report, &server, name).await?;
            small::run(report, &server, name).await?;
        }
        Ok(())
    })
}

/// Has the disk take what was written before, so that it does not slow what is measured next.
fn flush_disk() -> Result<()> {
    let flushed = Command::new("sync").status().context("sync can't be started")?;
    ensure!(flushed.success(), "sync failed");
    Ok(())
}
