//! The group `s3`: the engine over a bucket, against a plain client of the same service in the same run,
//! in turn with it. `cargo xtask bench s3` installs the services and says where they are.

mod bare;
mod push;
mod small;

use anyhow::Result;
use strongroom_s3_testing::{Server, ServerKind};

use crate::Report;

const MIB: usize = 1 << 20;
/// The blob that is pushed and pulled.
const LARGE: usize = 512 * MIB;
/// How often each is measured; the services copy on a disk that is no faster for it.
const ROUNDS: usize = 3;

/// Measures all of the group.
pub fn run(report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        for (kind, name) in [(ServerKind::Minio, "MinIO"), (ServerKind::Versity, "versitygw")] {
            let server = Server::start(kind).await;
            push::run(report, &server, name).await?;
            small::run(report, &server, name).await?;
        }
        Ok(())
    })
}
