//! The user pool at Cognito.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_cognitoidentityprovider::Client;
use aws_sdk_cognitoidentityprovider::types::{UserStatusType, UserType};
use strongroom_identity::profiles::NewUser;

use crate::aws::{self, AwsError};
use crate::pool::{Pool, PoolUser, UserPage};

/// The most people of a page that Cognito takes.
const PAGE: i32 = 60;

#[derive(Debug)]
pub(crate) struct UserPool {
    client: Client,
    id: String,
}

impl UserPool {
    pub(crate) fn new(shared: &SdkConfig, id: &str) -> Self {
        Self { client: Client::new(shared), id: id.to_owned() }
    }
}

#[async_trait]
impl Pool for UserPool {
    async fn page(&self, after: Option<&str>) -> Result<UserPage, AwsError> {
        let request = self.client.list_users().user_pool_id(&self.id).limit(PAGE);
        let request = request.set_pagination_token(after.map(str::to_owned)).send();
        let whom = || format!("user pool {}", self.id);
        let listed = request.await.map_err(|error| aws::refused("list users", &whom(), &error))?;
        let users: Vec<_> = listed.users().iter().filter_map(read).collect();
        let nameless = listed.users().len() - users.len();
        Ok(UserPage { users, nameless, next: listed.pagination_token })
    }

    async fn knows(&self, sub: &str) -> Result<bool, AwsError> {
        let filter = format!("sub = \"{sub}\"");
        let request = self.client.list_users().user_pool_id(&self.id).filter(filter).limit(1);
        let whom = || format!("somebody of user pool {}", self.id);
        let listed =
            request.send().await.map_err(|error| aws::refused("look up", &whom(), &error))?;
        // It may look on behind a page that has nobody.
        Ok(!listed.users().is_empty() || listed.pagination_token().is_some())
    }
}

/// None where it tells no name or no id, which everybody has.
fn read(user: &UserType) -> Option<PoolUser> {
    let attribute = |name: &str| {
        let found = user.attributes().iter().find(|attribute| attribute.name() == name);
        found.and_then(|attribute| attribute.value()).map(str::to_owned)
    };
    // A temporary password that was not changed yet was sent by an administrator to whom they meant.
    let vouched = matches!(
        user.user_status(),
        Some(
            UserStatusType::Confirmed
                | UserStatusType::ExternalProvider
                | UserStatusType::ForceChangePassword
                | UserStatusType::ResetRequired
        )
    );
    let given_up =
        matches!(user.user_status(), Some(UserStatusType::Archived | UserStatusType::Compromised));
    Some(PoolUser {
        user: NewUser {
            sub: attribute("sub")?,
            username: user.username()?.to_owned(),
            email: attribute("email"),
            email_verified: attribute("email_verified").as_deref() == Some("true"),
        },
        enabled: user.enabled() && !given_up,
        vouched,
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_cognitoidentityprovider::types::AttributeType;

    use super::*;

    fn user(status: UserStatusType, attributes: &[(&str, &str)]) -> UserType {
        let mut user = UserType::builder().username("Jo").user_status(status).enabled(true);
        for (name, value) in attributes {
            user = user
                .attributes(AttributeType::builder().name(*name).value(*value).build().unwrap());
        }
        user.build()
    }

    #[test]
    fn only_those_count_whom_the_pool_knows_to_be_somebody() {
        for (status, vouched) in [
            (UserStatusType::Confirmed, true),
            (UserStatusType::ExternalProvider, true),
            (UserStatusType::ForceChangePassword, true),
            (UserStatusType::ResetRequired, true),
            (UserStatusType::Unconfirmed, false),
            (UserStatusType::Archived, false),
            (UserStatusType::Compromised, false),
            (UserStatusType::UnknownValue, false),
            (UserStatusType::from("OF_TOMORROW"), false),
        ] {
            let read = read(&user(status.clone(), &[("sub", "0f")])).unwrap();
            assert_eq!(read.vouched, vouched, "{status:?}");
            let given_up = matches!(status, UserStatusType::Archived | UserStatusType::Compromised);
            assert_eq!(read.enabled, !given_up, "{status:?}");
        }
    }

    #[test]
    fn who_is_disabled_is_not_let_in_whatever_their_status() {
        for status in [UserStatusType::Confirmed, UserStatusType::Unconfirmed] {
            let sub = AttributeType::builder().name("sub").value("0f").build().unwrap();
            let user = UserType::builder().username("Jo").user_status(status).attributes(sub);
            assert!(!read(&user.enabled(false).build()).unwrap().enabled);
        }
    }

    #[test]
    fn an_address_is_verified_only_where_the_pool_says_so() {
        let verified = |text| {
            let attributes =
                [("sub", "0f"), ("email", "jo@acme.example"), ("email_verified", text)];
            read(&user(UserStatusType::Confirmed, &attributes)).unwrap().user.email_verified
        };
        assert!(verified("true"));
        for text in ["false", "True", "1", ""] {
            assert!(!verified(text), "{text}");
        }
        assert!(read(&user(UserStatusType::Confirmed, &[("email", "jo@acme.example")])).is_none());
    }
}
