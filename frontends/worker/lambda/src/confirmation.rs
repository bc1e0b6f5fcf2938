//! From Cognito's event to the message.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use strongroom_signup::{MessageError, SignUp, VERSION};

/// What begins the sources of this trigger.
const POST_CONFIRMATION: &str = "PostConfirmation_";
/// The one of them that is a sign-up. Changing a forgotten password is another.
const SIGN_UP: &str = "PostConfirmation_ConfirmSignUp";

/// What an event is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    SignUp(SignUp),
    /// Something else that this trigger tells: its source.
    Other(String),
}

/// Why an event is none that can be told on. The text is shown to the person who signs up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EventError {
    #[error("this function hears of confirmations only; {0} is another trigger's event")]
    Trigger(String),
    #[error("this is no event of a user pool: {0}")]
    Malformed(String),
    #[error("the user pool tells no {0} of whom it confirmed")]
    Absent(&'static str),
    #[error("the user pool tells of somebody who can't be told on: {0}")]
    Message(MessageError),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    trigger_source: String,
    #[serde(default)]
    user_name: String,
    #[serde(default)]
    request: Request,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Request {
    user_attributes: BTreeMap<String, String>,
}

/// Reads an event that came with the request `id` at `now`, in milliseconds since 1970.
pub(crate) fn hear(event: &Value, id: &str, now: u64) -> Result<Heard, EventError> {
    let event =
        Event::deserialize(event).map_err(|error| EventError::Malformed(error.to_string()))?;
    let source = event.trigger_source;
    if !source.starts_with(POST_CONFIRMATION) {
        return Err(EventError::Trigger(source.chars().take(100).collect()));
    }
    if source != SIGN_UP {
        return Ok(Heard::Other(source));
    }
    let mut attributes = event.request.user_attributes;
    let sub = attributes.remove("sub").ok_or(EventError::Absent("sub"))?;
    let message = SignUp {
        version: VERSION,
        event_id: id.to_owned(),
        sub,
        username: event.user_name,
        email: attributes.remove("email").filter(|email| !email.is_empty()),
        email_verified: attributes.get("email_verified").is_some_and(|text| text == "true"),
        confirmed_at: now,
    };
    // What the worker would refuse is found here, where somebody hears of it.
    SignUp::parse(&message.to_text()).map(Heard::SignUp).map_err(EventError::Message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As Cognito sends it.
    fn event() -> Value {
        json!({
            "version": "1",
            "region": "eu-central-1",
            "userPoolId": "eu-central-1_Ab12Cd34E",
            "userName": "jo",
            "callerContext": {
                "awsSdkVersion": "aws-sdk-unknown-unknown",
                "clientId": "1example23456789"
            },
            "triggerSource": "PostConfirmation_ConfirmSignUp",
            "request": {
                "userAttributes": {
                    "sub": "a1b2c3d4-5678-90ab-cdef-1234567890ab",
                    "email_verified": "true",
                    "cognito:user_status": "CONFIRMED",
                    "email": "jo@acme.example"
                }
            },
            "response": {}
        })
    }

    fn with(change: impl FnOnce(&mut Value)) -> Result<Heard, EventError> {
        let mut event = event();
        change(&mut event);
        hear(&event, "c6af9ac6-7b61-11e6-9a41-93e8deadbeef", 7)
    }

    fn message(heard: Result<Heard, EventError>) -> SignUp {
        match heard.unwrap() {
            Heard::SignUp(message) => message,
            Heard::Other(source) => panic!("{source} is no sign-up"),
        }
    }

    #[test]
    fn a_confirmed_sign_up_is_told_with_what_the_pool_knows() {
        let told = message(with(|_| {}));
        let wanted = SignUp {
            version: VERSION,
            event_id: "c6af9ac6-7b61-11e6-9a41-93e8deadbeef".to_owned(),
            sub: "a1b2c3d4-5678-90ab-cdef-1234567890ab".to_owned(),
            username: "jo".to_owned(),
            email: Some("jo@acme.example".to_owned()),
            email_verified: true,
            confirmed_at: 7,
        };
        assert_eq!(told, wanted);
    }

    #[test]
    fn an_address_counts_as_verified_only_where_the_pool_says_so() {
        for (text, verified) in [("true", true), ("false", false), ("TRUE", false), ("", false)] {
            let told =
                with(|event| event["request"]["userAttributes"]["email_verified"] = json!(text));
            assert_eq!(message(told).email_verified, verified, "{text}");
        }
    }

    /// Somebody of another provider, whom Cognito confirms at their first sign-in; a name of one's own,
    /// and things an app client sends along.
    #[test]
    fn the_other_shapes_of_the_event_are_read_too() {
        let told = message(with(|event| {
            event["userName"] = json!("Google_113245678901234567890");
            event["request"]["userAttributes"] = json!({
                "sub": "0f",
                "cognito:user_status": "EXTERNAL_PROVIDER",
                "identities": "[{\"userId\":\"1\",\"providerName\":\"Google\"}]",
                "custom:team": "a, b"
            });
            event["request"]["clientMetadata"] = json!({ "from": "the web page" });
        }));
        assert_eq!((told.username.as_str(), told.email), ("Google_113245678901234567890", None));
        let told = message(with(|event| event["request"]["userAttributes"]["email"] = json!("")));
        assert_eq!(told.email, None);
    }

    #[test]
    fn a_forgotten_password_is_nothing_to_tell() {
        for source in ["PostConfirmation_ConfirmForgotPassword", "PostConfirmation_OfTomorrow"] {
            let heard = with(|event| event["triggerSource"] = json!(source));
            assert_eq!(heard, Ok(Heard::Other(source.to_owned())));
        }
    }

    #[test]
    fn what_is_no_confirmation_is_refused_with_what_is_wrong() {
        let says = |heard: Result<Heard, EventError>| heard.unwrap_err().to_string();
        let other = says(with(|event| event["triggerSource"] = json!("PreSignUp_SignUp")));
        assert!(other.contains("PreSignUp_SignUp is another trigger's"), "{other}");
        for event in [json!({}), json!([]), json!(null), json!({ "Records": [] })] {
            let malformed = says(hear(&event, "id", 7));
            assert!(malformed.contains("no event of a user pool"), "{malformed}");
        }
        let nobody = says(with(|event| event["request"]["userAttributes"] = json!({})));
        assert!(nobody.contains("tells no sub"), "{nobody}");
        let nameless = says(with(|event| event["userName"] = json!("")));
        assert!(nameless.contains("username must be one line"), "{nameless}");
    }
}
