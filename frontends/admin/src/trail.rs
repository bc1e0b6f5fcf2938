//! The audit trail, in pages and as a stream.

use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;
use strongroom_engine::access::Caller;
use strongroom_engine::audit::{TrailLine, TrailQuery};
use strongroom_engine::name::OrganisationName;
use strongroom_http::Body;

use crate::Admin;
use crate::input::Input;
use crate::model::{AuditLine, Time};
use crate::problem::Problem;
use crate::reply::Reply;

impl From<TrailLine> for AuditLine {
    fn from(of: TrailLine) -> Self {
        let kind = of.event.kind.name();
        let event = serde_json::to_value(&of.event.kind).unwrap_or_default();
        // A kind is written as `{"name": {…}}`.
        let event = event.get(kind).cloned().unwrap_or(Value::Null);
        Self {
            chain: of.chain.to_string(),
            sequence: of.sequence,
            hash: const_hex::encode(of.hash),
            at: Time(of.event.at),
            principal: of.event.principal,
            origin: serde_json::to_value(of.event.origin).unwrap_or_default(),
            kind: kind.to_owned(),
            event,
        }
    }
}

fn query(input: &Input) -> TrailQuery {
    let text = |name| input.query(name).map(str::to_owned);
    TrailQuery {
        principal: text("principal"),
        repository: text("repository"),
        kinds: text("kind").into_iter().collect(),
        from: input.time("from"),
        until: input.time("until"),
        oldest_first: input.query("order") == Some("oldest"),
    }
}

/// Whose trail the path names: an organisation's, or that of what belongs to none.
fn whose(input: &Input) -> Result<Option<OrganisationName>, Problem> {
    if input.has("organisation") { input.place("organisation").map(Some) } else { Ok(None) }
}

impl Admin {
    pub(crate) async fn list_trail(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let (whose, after) = (whose(input)?, input.cursor()?);
        let (engine, query) = (&self.0.engine, query(input));
        let page =
            engine.trail(caller, whose.as_ref(), &query, after.as_deref(), input.limit()).await?;
        Ok(Reply::page::<_, AuditLine>(page))
    }

    pub(crate) async fn export_trail(
        &self,
        caller: &Caller,
        input: &Input,
    ) -> Result<Reply, Problem> {
        let query = TrailQuery { oldest_first: true, ..query(input) };
        let lines = self.0.engine.export_trail(caller, whose(input)?.as_ref(), query).await?;
        // What fails on the way breaks the body off, so that nobody takes half for whole.
        let lines = lines.map(|line| {
            let mut text = serde_json::to_vec(&AuditLine::from(line?))?;
            text.push(b'\n');
            Ok(Bytes::from(text))
        });
        Ok(Reply::Lines(Body::stream(lines, None)))
    }
}
