//! The schema's steps: asked for, checked, killed half way.

use crate::support::{Server, quick};
use bytes::Bytes;
use strongroom_engine::meta::{Commit, CommitId, MetaRead, MetaStore};
use strongroom_postgres::{OpenError, PostgresStore};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_the_steps_is_refused_and_says_what_to_do() {
    let server = Server::start();
    let options = quick(server.url("public"));
    match PostgresStore::open(options.clone()).await {
        Err(error @ OpenError::Older { found: 0, .. }) => {
            assert!(error.to_string().contains("strongroom migrate"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(PostgresStore::migrate(&options).await.unwrap(), steps());
    assert_eq!(PostgresStore::migrate(&options).await.unwrap(), 0, "it is there already");
    PostgresStore::open(options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_a_newer_program_is_refused() {
    let server = Server::start();
    let options = server.fresh().await;
    let schema = options.url.rsplit_once("%3D").unwrap().1.to_owned();
    server
        .execute(&format!(
            "INSERT INTO {schema}.strongroom_migrations SELECT version + 1, 'later', applied_on, '0'
             FROM {schema}.strongroom_migrations ORDER BY version DESC LIMIT 1"
        ))
        .await;
    let wanted = PostgresStore::version();
    for refused in [
        PostgresStore::open(options.clone()).await.err(),
        PostgresStore::migrate(&options).await.err(),
    ] {
        match refused {
            Some(OpenError::Newer { found, known }) => {
                assert_eq!((found, known), (wanted + 1, wanted));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_migrate_at_once_one_does() {
    let server = Server::start();
    let options = quick(server.url("public"));
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let options = options.clone();
            tokio::spawn(async move { PostgresStore::migrate(&options).await.unwrap() })
        })
        .collect();
    let mut taken = 0;
    for task in tasks {
        taken += task.await.unwrap();
    }
    assert_eq!(taken, steps());
}

/// How many there are: their numbers have no gap.
fn steps() -> usize {
    usize::try_from(PostgresStore::version()).unwrap()
}

/// The server ends the migration's own connection at each of its commands, as a kill would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_killed_at_any_command_leaves_whole_steps() {
    let server = Server::start();
    let options = quick(server.url("public"));
    server
        .execute(
            "CREATE SCHEMA trap; CREATE SEQUENCE trap.passed;
             CREATE TABLE trap.at (command bigint);
             CREATE FUNCTION trap.spring() RETURNS event_trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF nextval('trap.passed') = (SELECT max(command) FROM trap.at) THEN
                     PERFORM pg_terminate_backend(pg_backend_pid());
                     PERFORM pg_sleep(1);
                 END IF;
             END $$",
        )
        .await;
    let mut kills = 0;
    for command in 1.. {
        server
            .execute(&format!(
                "DROP EVENT TRIGGER IF EXISTS trap;
                 DELETE FROM trap.at; INSERT INTO trap.at VALUES ({command});
                 ALTER SEQUENCE trap.passed RESTART;
                 CREATE EVENT TRIGGER trap ON ddl_command_end
                     WHEN TAG IN ('CREATE TABLE', 'CREATE INDEX', 'CREATE FUNCTION')
                     EXECUTE FUNCTION trap.spring()"
            ))
            .await;
        if PostgresStore::migrate(&options).await.is_ok() {
            break;
        }
        kills += 1;
        server.execute("DROP EVENT TRIGGER trap").await;
        // Refused as before, and none of the step's tables is there.
        let refused = PostgresStore::open(options.clone()).await;
        assert!(matches!(refused, Err(OpenError::Older { found: 0, .. })), "{refused:?}");
        let client = server.client("public").await;
        let sql = "SELECT to_regclass('strongroom_rows') IS NULL";
        assert!(client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0), "half a step");
    }
    assert!(kills >= 5, "the trap sprang {kills} times");

    let store = PostgresStore::open(options).await.unwrap();
    let mut first = Commit::new(CommitId([1; 16]));
    first.put.push((b"row".to_vec(), Bytes::from_static(b"value")));
    store.commit(first).await.unwrap();
    assert!(store.get(b"row").await.unwrap().is_some());
}
