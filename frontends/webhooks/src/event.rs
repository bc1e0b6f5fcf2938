//! A line of the trail as a CloudEvent 1.0, in its structured JSON form.
//!
//! It tells what happened and who did it, and leaves out from where: a registry's admins are not the
//! organisation's, whose trail has that.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use strongroom_engine::audit::{EventKind, TrailLine};
use strongroom_engine::id::RegistryId;
use strongroom_engine::seam::Timestamp;

use crate::signature::MessageId;

/// What a hook can ask for, as the trail names it.
pub const KINDS: [&str; 9] = [
    "manifest_pushed",
    "manifest_deleted",
    "tag_deleted",
    "blob_pushed",
    "blob_mounted",
    "blob_deleted",
    "pulled",
    "repository_created",
    "registry_changed",
];
/// What a hook gets that asked for nothing in particular: all that changes what can be pulled by name.
pub const USUAL: [&str; 4] =
    ["manifest_pushed", "manifest_deleted", "tag_deleted", "repository_created"];

/// What a body is.
pub(crate) const MEDIA_TYPE: &str = "application/cloudevents+json; charset=utf-8";
/// What types begin with.
const TYPE: &str = "strongroom.";

/// An event ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: MessageId,
    pub(crate) kind: String,
    pub(crate) body: Bytes,
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: String,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    datacontenttype: &'static str,
    data: Value,
}

/// The registry that something happened in, where it happened in one.
pub(crate) fn registry_of(kind: &EventKind) -> Option<RegistryId> {
    match kind {
        EventKind::RegistryChanged { registry, .. } => Some(*registry),
        kind => kind.repository().map(|repository| repository.registry),
    }
}

impl Message {
    /// The event of a line, as from `source`, the registry's path.
    pub(crate) fn of_line(line: &TrailLine, source: &str) -> Self {
        let event = &line.event;
        // The kind is its own name over its facts.
        let facts = match serde_json::to_value(&event.kind) {
            Ok(Value::Object(kind)) => kind.into_values().next().unwrap_or_default(),
            Ok(_) | Err(_) => Value::Null,
        };
        let subject = event.kind.repository().map(|repository| repository.path.as_str());
        let id = MessageId::of_line(line.chain, line.sequence);
        let data = with_principal(facts, &event.principal);
        Self::new(id, event.kind.name(), source, subject, event.at, data)
    }

    /// One that only tells that it arrives.
    pub(crate) fn trial(random: u64, source: &str, principal: &str, at: Timestamp) -> Self {
        let data = with_principal(json!({}), principal);
        Self::new(MessageId::of_trial(random), "webhook_tested", source, None, at, data)
    }

    fn new(
        id: MessageId,
        kind: &str,
        source: &str,
        subject: Option<&str>,
        at: Timestamp,
        data: Value,
    ) -> Self {
        let event = CloudEvent {
            specversion: "1.0",
            id: id.as_str(),
            source,
            kind: format!("{TYPE}{kind}"),
            time: time(at),
            subject: subject.filter(|subject| !subject.is_empty()),
            datacontenttype: "application/json",
            data,
        };
        let body = serde_json::to_vec(&event).expect("it is texts and values, and memory grows");
        Self { id, kind: kind.to_owned(), body: body.into() }
    }
}

fn with_principal(mut facts: Value, principal: &str) -> Value {
    if let Some(fields) = facts.as_object_mut() {
        fields.insert("principal".to_owned(), principal.into());
    }
    facts
}

/// As RFC 3339 writes it.
fn time(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use strongroom_engine::access::Origin;
    use strongroom_engine::audit::{Event, RepositoryRef};
    use strongroom_engine::id::{ChainId, OrganisationId, RepositoryId};

    use super::*;

    #[test]
    fn a_line_is_a_cloud_event_and_tells_not_from_where() {
        let repository = RepositoryRef {
            id: RepositoryId(3),
            registry: RegistryId(2),
            path: "acme/main/api".to_owned(),
        };
        let kind = EventKind::TagDeleted {
            repository,
            tag: "1.0".to_owned(),
            digest: format!("sha256:{}", "a".repeat(64)).parse().unwrap(),
        };
        let origin = Origin {
            address: Some([1, 2, 3, 4].into()),
            user_agent: Some("secret agent".to_owned()),
            ..Origin::default()
        };
        let event = Event {
            organisation: OrganisationId(1),
            at: Timestamp(1_500),
            principal: "user:ann".to_owned(),
            origin,
            kind,
        };
        let line = TrailLine { chain: ChainId(9), sequence: 7, hash: [0; 32], event };
        let message = Message::of_line(&line, "/acme/main");
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        let expected = json!({
            "specversion": "1.0",
            "id": "0000000000000009-7",
            "source": "/acme/main",
            "type": "strongroom.tag_deleted",
            "time": "1970-01-01T00:00:01.5Z",
            "subject": "acme/main/api",
            "datacontenttype": "application/json",
            "data": {
                "repository": {
                    "id": "0000000000000003", "registry": "0000000000000002", "path": "acme/main/api",
                },
                "tag": "1.0",
                "digest": format!("sha256:{}", "a".repeat(64)),
                "principal": "user:ann",
            },
        });
        assert_eq!(body, expected);
        assert_eq!(registry_of(&line.event.kind), Some(RegistryId(2)));
    }

    #[test]
    fn the_usual_events_are_among_those_there_are() {
        assert!(USUAL.iter().all(|kind| KINDS.contains(kind)));
    }
}
