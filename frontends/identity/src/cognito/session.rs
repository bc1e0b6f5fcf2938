//! A password, or a refresh token, for tokens of the pool: the call `InitiateAuth`, which is not signed.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use strongroom_http::auth::Secret;

use super::{Cognito, Person};
use crate::provider::IdentityError;

/// When to come again, where the pool has too much to do: it does not say.
const BUSY: Duration = Duration::from_secs(5);
/// When to come again, where the pool has seen too many wrong passwords: it waits longer each time.
const GUESSED: Duration = Duration::from_mins(1);

/// What somebody reads at their terminal, where the password alone does not do.
const UNCONFIRMED: &str = "this account is not confirmed yet: enter the code that was sent when it was \
                           made, on the sign-up page, then sign in again";
const RESET: &str = "this password must be reset first: use 'forgot password' on the sign-in page, then \
                     sign in with the new one, or with a personal access token as the password";
const NEW_PASSWORD: &str = "this password is a temporary one: sign in once on the sign-in page and choose \
                            your own, then sign in again";
const SECOND_FACTOR: &str = "this account signs in with a second factor, which can't be asked for here: \
                             make a personal access token and use it as the password";

/// A sign-in at the pool that worked.
#[derive(Debug, Clone)]
pub struct Session {
    /// Who.
    pub person: Person,
    /// What renews it, where the pool gave one.
    pub refresh: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    authentication_result: Option<Tokens>,
    challenge_name: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(rename = "AccessToken")]
    access: String,
    #[serde(rename = "IdToken")]
    id: Option<String>,
    #[serde(rename = "RefreshToken")]
    refresh: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Failure {
    #[serde(rename = "__type")]
    kind: String,
    #[serde(alias = "Message")]
    message: String,
}

impl Cognito {
    /// Who has this password.
    pub async fn password(&self, user: &str, password: &Secret) -> Result<Session, IdentityError> {
        let parameters = json!({ "USERNAME": user, "PASSWORD": password.expose() });
        self.initiate("USER_PASSWORD_AUTH", user, parameters).await
    }

    /// Who has this refresh token of the pool, whose name there is `username`: so that who is
    /// disabled or deleted there is out here.
    pub async fn renew(&self, username: &str, refresh: &Secret) -> Result<Session, IdentityError> {
        let parameters = json!({ "REFRESH_TOKEN": refresh.expose() });
        self.initiate("REFRESH_TOKEN_AUTH", username, parameters).await
    }

    async fn initiate(
        &self,
        flow: &str,
        user: &str,
        mut parameters: serde_json::Value,
    ) -> Result<Session, IdentityError> {
        if let (Some(hash), Some(fields)) = (self.secret_hash(user), parameters.as_object_mut()) {
            fields.insert("SECRET_HASH".to_owned(), hash.into());
        }
        let settings = &self.0.settings;
        let client = settings.client_ids.first().map_or("", String::as_str);
        let body = json!({ "AuthFlow": flow, "ClientId": client, "AuthParameters": parameters });
        let request = Request::post(settings.endpoint())
            .header(CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", "AWSCognitoIdentityProviderService.InitiateAuth")
            .body(Bytes::from(body.to_string()))
            .map_err(|error| away(&error))?;
        let answer = self.0.web.send(request).await.map_err(|error| away(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(refusal(&answer));
        }
        let answer: Answer = serde_json::from_slice(answer.body())
            .map_err(|_| away(&"the user pool's answer can't be read"))?;
        let Some(tokens) = answer.authentication_result else {
            return Err(challenged(answer.challenge_name.as_deref()));
        };
        let mut person = self.verify_own(&tokens.access).await?;
        if let Some(id) = &tokens.id {
            let told = self.verify_own(id).await?;
            if told.sub != person.sub {
                return Err(away(&"the user pool gave tokens of two people"));
            }
            person.email = told.email;
            person.email_verified = told.email_verified;
        }
        Ok(Session { person, refresh: tokens.refresh.map(Secret::new) })
    }

    /// A token that the pool gave just now. One that is not good is a mistake of the settings, not of
    /// the person.
    async fn verify_own(&self, token: &str) -> Result<Person, IdentityError> {
        self.verify(token).await.map_err(|error| match error {
            IdentityError::Wrong => away(
                &"the user pool gave a token that is not good here; are issuer, client_ids and jwks_url \
                  those of one pool?",
            ),
            error => error,
        })
    }

    /// What proves that we are the client: `Base64(HMAC-SHA-256(secret, user + client))`.
    fn secret_hash(&self, user: &str) -> Option<String> {
        let settings = &self.0.settings;
        let secret = settings.client_secret.as_ref()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let client = settings.client_ids.first()?;
        Some(STANDARD.encode(hmac::sign(&key, format!("{user}{client}").as_bytes())))
    }
}

fn away(error: &dyn std::fmt::Display) -> IdentityError {
    IdentityError::Unavailable(format!("the user pool: {error}"))
}

fn challenged(name: Option<&str>) -> IdentityError {
    match name {
        Some("NEW_PASSWORD_REQUIRED") => IdentityError::ActFirst(NEW_PASSWORD),
        Some(_) => IdentityError::ActFirst(SECOND_FACTOR),
        None => away(&"its answer has neither tokens nor a challenge"),
    }
}

/// What the pool's refusal means for whoever signs in. What can only be a mistake of the settings
/// is for the log.
fn refusal(answer: &Response<Bytes>) -> IdentityError {
    let failure: Failure = serde_json::from_slice(answer.body()).unwrap_or_default();
    let kind = failure.kind.rsplit(['#', ':']).next().unwrap_or_default();
    let says = |text: &str| failure.message.to_lowercase().contains(text);
    match kind {
        "NotAuthorizedException" if says("attempts exceeded") => {
            IdentityError::TooMany { retry_after: GUESSED }
        }
        // "Unable to verify secret hash for client …", "Client … is configured with secret but …"
        "NotAuthorizedException" if says("secret") => away(&failure.message),
        "NotAuthorizedException" | "UserNotFoundException" | "UserLambdaValidationException" => {
            IdentityError::Wrong
        }
        "UserNotConfirmedException" => IdentityError::ActFirst(UNCONFIRMED),
        "PasswordResetRequiredException" => IdentityError::ActFirst(RESET),
        "TooManyRequestsException" | "LimitExceededException" | "ThrottlingException" => {
            IdentityError::TooMany { retry_after: BUSY }
        }
        // "USER_PASSWORD_AUTH flow not enabled for this client", as against a name that can't be one.
        "InvalidParameterException" if !says("not enabled") => IdentityError::Wrong,
        _ if answer.status() == StatusCode::TOO_MANY_REQUESTS => {
            IdentityError::TooMany { retry_after: BUSY }
        }
        kind => away(&format!("{} {kind}: {}", answer.status(), failure.message)),
    }
}
