//! What is kept of hooks, and under which keys of the namespace:
//!
//! ```text
//! hooks/<organisation>/<registry>  → RegistryHooks: all hooks of a registry, so that one row bounds them
//! state/<hook>                     → State: where the hook stands in the trail
//! recent/<hook>                    → Recent: its last deliveries
//! sender                           → Lease: which process sends
//! ```
//!
//! Ids are 16 hexadecimal digits. A record is one byte of version, and JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
pub(crate) use strongroom_engine::extension::record::encode;
use strongroom_engine::extension::record::{self, Unreadable};
use strongroom_engine::id::{ChainId, OrganisationId, RegistryId};
use strongroom_engine::name::{OrganisationName, RegistryName};
use strongroom_engine::seam::Timestamp;
use strongroom_outbound::Target;

use crate::error::WebhookError;
use crate::hooks::HookId;
use crate::send::Answer;

pub(crate) const NAMESPACE: &str = "webhooks";
pub(crate) const HOOKS: &str = "hooks/";
pub(crate) const SENDER: &str = "sender";

/// The hooks of one registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistryHooks {
    pub(crate) organisation: OrganisationId,
    pub(crate) registry: RegistryId,
    /// `/organisation/registry`, as the hooks were last looked after: events' source where the names are
    /// gone.
    pub(crate) source: String,
    pub(crate) hooks: Vec<HookRecord>,
}

/// What was set of one hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HookRecord {
    pub(crate) id: HookId,
    pub(crate) target: Target,
    pub(crate) kinds: Vec<String>,
    pub(crate) enabled: bool,
    /// Why it was switched off, where nobody did.
    pub(crate) disabled_because: Option<String>,
    pub(crate) secret: Sealed,
    /// The secret before, as long as both sign.
    pub(crate) previous: Option<Previous>,
    pub(crate) created_at: Timestamp,
    pub(crate) created_by: String,
}

/// A key, sealed for its hook by the master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Sealed(pub(crate) Vec<u8>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Previous {
    pub(crate) secret: Sealed,
    pub(crate) until: Timestamp,
}

/// Where a hook stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Behind all that was taken, in every chain.
    pub(crate) cursor: String,
    /// What was taken of the page that begins there.
    pub(crate) taken: Vec<(ChainId, u64)>,
    /// Failures on end.
    pub(crate) failures: u32,
    pub(crate) failing_since: Option<Timestamp>,
    /// Nothing is sent before then.
    pub(crate) next_at: Timestamp,
    pub(crate) taken_at: Option<Timestamp>,
}

impl State {
    pub(crate) fn at(cursor: String) -> Self {
        Self {
            cursor,
            taken: Vec::new(),
            failures: 0,
            failing_since: None,
            next_at: Timestamp(0),
            taken_at: None,
        }
    }
}

/// The last deliveries of a hook, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recent {
    pub(crate) deliveries: Vec<Delivery>,
}

/// One attempt to deliver one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The event's id, as its receiver sees it.
    pub event: String,
    /// What happened, as the trail names it.
    pub kind: String,
    /// When it was sent.
    pub at: Timestamp,
    /// What came of it.
    pub answer: Answer,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Which process sends, so that several over one store do not send the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lease {
    pub(crate) holder: String,
    pub(crate) until: Timestamp,
}

/// What events name a registry by.
pub(crate) fn source(organisation: &OrganisationName, registry: &RegistryName) -> String {
    format!("/{organisation}/{registry}")
}

pub(crate) fn hooks_of(organisation: OrganisationId, registry: RegistryId) -> String {
    format!("{HOOKS}{organisation}/{registry}")
}

pub(crate) fn state(hook: HookId) -> String {
    format!("state/{hook}")
}

pub(crate) fn recent(hook: HookId) -> String {
    format!("recent/{hook}")
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WebhookError> {
    record::decode(bytes).map_err(|Unreadable { reason }| WebhookError::Damaged { reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_records_never_changes_by_accident() {
        let hooks = RegistryHooks {
            organisation: OrganisationId(1),
            registry: RegistryId(2),
            source: "/acme/main".to_owned(),
            hooks: vec![HookRecord {
                id: HookId(3),
                target: "https://example.org/x".parse().unwrap(),
                kinds: vec!["tag_deleted".to_owned()],
                enabled: false,
                disabled_because: Some("it failed".to_owned()),
                secret: Sealed(vec![1, 2]),
                previous: Some(Previous { secret: Sealed(vec![3]), until: Timestamp(9) }),
                created_at: Timestamp(5),
                created_by: "user:ann".to_owned(),
            }],
        };
        let written = concat!(
            "\x01{\"organisation\":\"0000000000000001\",\"registry\":\"0000000000000002\",",
            "\"source\":\"/acme/main\",\"hooks\":[{\"id\":\"0000000000000003\",",
            "\"target\":\"https://example.org/x\",\"kinds\":[\"tag_deleted\"],\"enabled\":false,",
            "\"disabled_because\":\"it failed\",\"secret\":[1,2],",
            "\"previous\":{\"secret\":[3],\"until\":9},\"created_at\":5,\"created_by\":\"user:ann\"}]}",
        );
        assert_eq!(String::from_utf8(encode(&hooks)).unwrap(), written);
        assert_eq!(decode::<RegistryHooks>(written.as_bytes()).unwrap(), hooks);

        let state = State { taken: vec![(ChainId(4), 5)], ..State::at("00".to_owned()) };
        let written = concat!(
            "\x01{\"cursor\":\"00\",\"taken\":[[\"0000000000000004\",5]],\"failures\":0,",
            "\"failing_since\":null,\"next_at\":0,\"taken_at\":null}",
        );
        assert_eq!(String::from_utf8(encode(&state)).unwrap(), written);
        assert_eq!(decode::<State>(written.as_bytes()).unwrap(), state);

        let recent = Recent {
            deliveries: vec![Delivery {
                event: "1-2".to_owned(),
                kind: "pulled".to_owned(),
                at: Timestamp(1),
                answer: Answer::Status(200),
                took_ms: 3,
            }],
        };
        let written = concat!(
            "\x01{\"deliveries\":[{\"event\":\"1-2\",\"kind\":\"pulled\",\"at\":1,",
            "\"answer\":{\"outcome\":\"status\",\"status\":200},\"took_ms\":3}]}",
        );
        assert_eq!(String::from_utf8(encode(&recent)).unwrap(), written);
        assert_eq!(decode::<Recent>(written.as_bytes()).unwrap(), recent);
    }

    #[test]
    fn a_record_of_a_later_version_is_refused() {
        for bytes in [&b""[..], b"\x02{}", b"\x01{\"deliveries\":[],\"more\":1}"] {
            assert!(matches!(decode::<Recent>(bytes), Err(WebhookError::Damaged { .. })));
        }
    }
}
