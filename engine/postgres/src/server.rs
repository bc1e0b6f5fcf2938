//! Whether a server keeps what it acknowledges.

use deadpool_postgres::ClientWrapper;
use strongroom_engine::meta::MetaError;

use crate::OpenError;
use crate::error::Failure;

/// The oldest server with all that is used: `sha256` and statements' plans as they are made now.
const OLDEST: i32 = 130_000;

const SETTINGS: &str = "SELECT version(), current_setting('server_version_num')::int,
    current_setting('synchronous_commit'), current_setting('fsync'),
    current_setting('full_page_writes'), pg_is_in_recovery()";

/// Fails with [`OpenError::Unfit`] where the server would lose acknowledged commits, or does not lock.
pub(crate) async fn check(client: &ClientWrapper) -> Result<(), OpenError> {
    let failed = |error: tokio_postgres::Error| -> MetaError { Failure::from(error).into_meta() };
    let unfit = |reason: String| Err(OpenError::Unfit { reason });
    let row = client.query_one("SELECT version()", &[]).await.map_err(failed)?;
    let version: String = row.try_get(0).map_err(failed)?;
    if !version.starts_with("PostgreSQL ") {
        // What only speaks the protocol may take advisory locks for nothing, and say nothing.
        return unfit(format!("it is {version}, where PostgreSQL's advisory locks are needed"));
    }
    let row = client.query_one(SETTINGS, &[]).await.map_err(failed)?;
    let number: i32 = row.try_get(1).map_err(failed)?;
    if number < OLDEST {
        return unfit(format!("it is {version}; the oldest that will do is {}", OLDEST / 10_000));
    }
    for (column, setting, bad) in
        [(2, "synchronous_commit", "off"), (3, "fsync", "off"), (4, "full_page_writes", "off")]
    {
        let value: String = row.try_get(column).map_err(failed)?;
        if value == bad {
            return unfit(format!(
                "{setting} is {value}: a crash of the server would lose acknowledged commits; set it \
                 to on for this role or database"
            ));
        }
    }
    if row.try_get(5).map_err(failed)? {
        return unfit("it is a standby, which takes no writes".to_owned());
    }
    Ok(())
}
