//! Settings of who else vouches for people and for runs of CI, and of what people may make here.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use strongroom_identity::cognito;
use strongroom_identity::founders::Allowed;
use strongroom_identity::jwks::{KeysAt, Policy};
use strongroom_identity::workload::Issuer;

use super::{Size, Span};

/// A user pool of AWS Cognito, where an issuer is named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cognito {
    /// `https://cognito-idp.REGION.amazonaws.com/POOL`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// The app clients whose tokens are good; passwords are exchanged as the first.
    pub(crate) client_ids: Vec<String>,
    /// The file that holds the secret of the first client, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// Where passwords are exchanged; the issuer's host where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// Where the pool's keys are; below the issuer where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jwks_url: Option<String>,
    /// The group whose members operate the installation; nobody of the pool where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operator_group: Option<String>,
}

impl Cognito {
    /// As the provider takes them, without the secret; none where no issuer is named.
    pub(crate) fn settings(&self) -> Option<cognito::Settings> {
        Some(cognito::Settings {
            issuer: self.issuer.clone()?,
            client_ids: self.client_ids.clone(),
            client_secret: None,
            endpoint: self.endpoint.clone(),
            jwks_url: self.jwks_url.clone(),
            operator_group: self.operator_group.clone(),
        })
    }
}

/// How the keys of the user pool and of workloads' issuers are looked after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IssuerKeys {
    /// After how long known keys are looked for anew.
    pub(crate) refresh_after: Span,
    /// How long after a look there is no other, whatever comes.
    pub(crate) look_each: Span,
    /// How long keys count that could not be confirmed since.
    pub(crate) max_age: Span,
    /// How far an issuer's clock may be from ours.
    pub(crate) clock_skew: Span,
}

impl Default for IssuerKeys {
    fn default() -> Self {
        let Policy { refresh_after, look_each, max_age, clock_skew } = Policy::default();
        Self {
            refresh_after: refresh_after.into(),
            look_each: look_each.into(),
            max_age: max_age.into(),
            clock_skew: clock_skew.into(),
        }
    }
}

impl IssuerKeys {
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            refresh_after: self.refresh_after.duration(),
            look_each: self.look_each.duration(),
            max_age: self.max_age.duration(),
            clock_skew: self.clock_skew.duration(),
        }
    }
}

/// A service that runs workloads and signs who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkloadIssuer {
    /// What rules call it.
    pub(crate) name: String,
    /// What stands in its tokens' `iss`, exactly.
    pub(crate) issuer: String,
    /// What must stand in their `aud`; as each rule says where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) audience: Option<String>,
    /// Where its keys are; where its discovery document says where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jwks_url: Option<String>,
}

impl WorkloadIssuer {
    pub(crate) fn issuer(&self) -> Issuer {
        Issuer {
            name: self.name.clone(),
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            keys: self.jwks_url.clone().map_or(KeysAt::Discovery, KeysAt::Url),
        }
    }
}

/// Organisations that people make by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Organisations {
    /// How many each person may make, beside the one that people of the user pool begin with.
    pub(crate) per_person: usize,
    /// The most bytes that each of those may store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quota: Option<Size>,
}

impl Organisations {
    pub(crate) fn allowed(&self) -> Allowed {
        Allowed { per_person: self.per_person, quota_bytes: self.quota.map(Size::bytes) }
    }
}
