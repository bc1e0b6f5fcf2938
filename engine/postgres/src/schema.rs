//! The tables and functions, in numbered steps, and whether a database has the ones known here.
//!
//! A step and the line that says it was taken are one transaction: a kill leaves the step taken or
//! not. One program at a time takes steps; others wait for it and find them taken.

use deadpool_postgres::ClientWrapper;
use strongroom_engine::meta::MetaError;

use crate::OpenError;
use crate::connections::Connections;
use crate::error::Failure;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Where the steps that were taken stand.
const TABLE: &str = "strongroom_migrations";
/// Who holds this takes steps: "strongroom" is taken by commits, so this is another number.
const LOCK: i64 = 0x6d69_6772_6174_6521;

/// The version that this program reads and writes.
pub(crate) fn known() -> i32 {
    embedded::migrations::runner()
        .get_migrations()
        .iter()
        .map(refinery::Migration::version)
        .max()
        .unwrap_or(0)
}

/// Takes the steps that were not taken yet; returns how many.
pub(crate) async fn migrate(connections: &Connections) -> Result<usize, OpenError> {
    let mut client = connections.own().await.map_err(Failure::into_meta)?;
    // A step may take as long as its rows are many, and so may another program's that is waited for.
    let free = "SET statement_timeout = 0; SET lock_timeout = 0";
    client.batch_execute(free).await.map_err(Failure::from).map_err(Failure::into_meta)?;
    // Ends with the connection, however that ends.
    let lock = client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await;
    lock.map_err(Failure::from).map_err(Failure::into_meta)?;
    crate::server::check(&client).await?;
    let found = version(&client).await?;
    if found > known() {
        return Err(OpenError::Newer { found, known: known() });
    }
    let mut runner = embedded::migrations::runner();
    runner.set_migration_table_name(TABLE);
    let report = runner.run_async(&mut *client).await;
    let report =
        report.map_err(|error| OpenError::Migration { reason: crate::error::text(&error) });
    Ok(report?.applied_migrations().len())
}

/// Fails unless the database has just the steps that this program knows.
pub(crate) async fn check(client: &ClientWrapper) -> Result<(), OpenError> {
    let (found, known) = (version(client).await?, known());
    match found.cmp(&known) {
        std::cmp::Ordering::Less => Err(OpenError::Older { found, known }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(OpenError::Newer { found, known }),
    }
}

/// The last step that was taken; 0 for a database without any.
async fn version(client: &ClientWrapper) -> Result<i32, MetaError> {
    let read = async {
        let row = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&TABLE]).await?;
        if !row.try_get::<_, bool>(0)? {
            return Ok(0);
        }
        let row = client.query_one("SELECT max(version) FROM strongroom_migrations", &[]).await?;
        Ok::<_, tokio_postgres::Error>(row.try_get::<_, Option<i32>>(0)?.unwrap_or(0))
    };
    read.await.map_err(|error| Failure::from(error).into_meta())
}
