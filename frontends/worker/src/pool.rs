//! The user pool, as a walk through it needs it.

use std::fmt;

use async_trait::async_trait;
use strongroom_identity::profiles::NewUser;

use crate::aws::AwsError;

/// Somebody in the pool.
#[derive(Debug, Clone)]
pub(crate) struct PoolUser {
    pub(crate) user: NewUser,
    /// Whether the pool lets them in.
    pub(crate) enabled: bool,
    /// Whether it knows them to be somebody: their sign-up is confirmed, or an administrator or another
    /// provider vouches for them.
    pub(crate) vouched: bool,
}

/// Some of the people in the pool.
#[derive(Debug, Clone, Default)]
pub(crate) struct UserPage {
    pub(crate) users: Vec<PoolUser>,
    /// Those of whom the pool did not tell what everybody has.
    pub(crate) nameless: usize,
    /// What to ask on with.
    pub(crate) next: Option<String>,
}

/// Lists people, page by page.
#[async_trait]
pub(crate) trait Pool: Send + Sync + fmt::Debug {
    /// The first page, or the one that `after` another's [`UserPage::next`] comes.
    async fn page(&self, after: Option<&str>) -> Result<UserPage, AwsError>;

    /// Whether anybody with this `sub`, which is letters, digits and dashes, is in it, let in or not.
    async fn knows(&self, sub: &str) -> Result<bool, AwsError>;
}
