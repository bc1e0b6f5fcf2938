//! Whether a server keeps what it acknowledges.

use deadpool_postgres::ClientWrapper;
use strongroom_engine::meta::MetaError;

use crate::OpenError;
use crate::error::Failure;

/// The oldest server with all that is used: `sha256` and statements' plans as they are made now.
const OLDEST: i32 = 130_000;

const SETTINGS: &str = "SELECT version(), current_setting('server_version_num')::int,
    current_setting('synchronous_commit'), current_setting('fsync'),
    current_setting('full_page_writes'), pg_is_in_recovery(),
    current_setting('synchronous_standby_names'), (SELECT count(*) FROM pg_stat_replication)";

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
    let (waits, names): (String, String) =
        (row.try_get(2).map_err(failed)?, row.try_get(6).map_err(failed)?);
    if let Some(doubt) = doubt(&waits, &names, row.try_get(7).map_err(failed)?) {
        tracing::warn!("a failover to a standby would lose acknowledged commits: {doubt}");
    }
    Ok(())
}

/// Why commits that this server acknowledged may be missing on a standby that takes its place. Its own
/// crash loses none, so this is the operator's to weigh: said, and not refused.
fn doubt(synchronous_commit: &str, standby_names: &str, standbys: i64) -> Option<String> {
    match (standby_names.is_empty(), synchronous_commit) {
        (true, _) if standbys > 0 => Some(format!(
            "it has {standbys} standbys and waits for none; set synchronous_standby_names"
        )),
        (false, "local") => Some(
            "synchronous_commit is local, so it waits for none of synchronous_standby_names; set it to on"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_s34_a_server_whose_standby_may_lack_commits_is_told_of() {
        assert!(doubt("on", "", 1).unwrap().contains("synchronous_standby_names"));
        assert!(doubt("local", "ANY 1 (*)", 1).unwrap().contains("local"));
        for (commit, names, standbys) in [
            ("on", "", 0),
            ("local", "", 0),
            ("on", "ANY 1 (*)", 2),
            ("remote_apply", "ANY 1 (*)", 0),
        ] {
            assert_eq!(doubt(commit, names, standbys), None, "{commit} {names} {standbys}");
        }
    }
}
