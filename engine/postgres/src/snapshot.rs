//! One moment of the database, on a connection of its own.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use strongroom_engine::meta::{Key, MAX_SCAN_ROWS, MetaError, MetaRead, Row};
use tokio_postgres::types::ToSql;

use crate::connections::Connections;
use crate::error::Failure;

pub(crate) const SCAN: &str = "SELECT key, value FROM strongroom_rows
    WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $3";
/// By the density that was found when the table was looked at last, and its size now; nothing where it
/// never was.
pub(crate) const ABOUT: &str = "SELECT CASE WHEN reltuples >= 0 AND relpages > 0 THEN
        (reltuples / relpages * (pg_relation_size(oid) / current_setting('block_size')::bigint))::bigint
    END FROM pg_class WHERE oid = 'strongroom_rows'::regclass";
const GET: &str = "SELECT value FROM strongroom_rows WHERE key = $1";

/// Begins, and looks: the moment is that of the first look.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1";

/// The rows of one moment. Dropping it ends its connection.
pub(crate) struct Snapshot {
    client: ClientWrapper,
    patience: std::time::Duration,
}

impl Snapshot {
    pub(crate) async fn take(connections: &Connections) -> Result<Self, Failure> {
        let client = connections.own().await?;
        let snapshot = Self { client, patience: connections.patience() };
        snapshot.bounded(snapshot.client.batch_execute(BEGIN)).await?;
        Ok(snapshot)
    }

    async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.patience, work).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Failure::Lost("the database does not answer".to_owned())),
        }
    }

    async fn query(
        &self,
        text: &str,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, MetaError> {
        let work = async {
            let statement = self.client.prepare_cached(text).await?;
            self.client.query(&statement, arguments).await
        };
        self.bounded(work).await.map_err(Failure::into_meta)
    }
}

/// The rows of a scan's answer.
pub(crate) fn rows(answer: Vec<tokio_postgres::Row>) -> Result<Vec<Row>, Failure> {
    let row =
        |row: tokio_postgres::Row| Ok((row.try_get(0)?, Bytes::copy_from_slice(row.try_get(1)?)));
    answer.into_iter().map(row).collect()
}

/// The answer to [`ABOUT`].
pub(crate) fn about(answer: &tokio_postgres::Row) -> Result<Option<u64>, Failure> {
    let rows: Option<i64> = answer.try_get(0)?;
    Ok(rows.and_then(|rows| u64::try_from(rows).ok()))
}

/// How many rows a scan asks for.
pub(crate) fn limit(limit: usize) -> i64 {
    i64::try_from(limit.min(MAX_SCAN_ROWS)).unwrap_or(0)
}

#[async_trait]
impl MetaRead for Snapshot {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        let rows = self.query(GET, &[&key]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let value = row.try_get(0).map_err(|error| Failure::from(error).into_meta())?;
        Ok(Some(Bytes::copy_from_slice(value)))
    }

    async fn scan(&self, range: Range<Key>, wanted: usize) -> Result<Vec<Row>, MetaError> {
        let answer = self.query(SCAN, &[&range.start, &range.end, &limit(wanted)]).await?;
        rows(answer).map_err(Failure::into_meta)
    }

    async fn about_rows(&self) -> Result<Option<u64>, MetaError> {
        let rows = self.query(ABOUT, &[]).await?;
        rows.first().map_or(Ok(None), |row| about(row).map_err(Failure::into_meta))
    }
}
