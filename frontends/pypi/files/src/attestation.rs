//! Attestations (PEP 740): interim signatures, filled in next.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::file_name::FileName;

/// Why attestations are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// Interim.
    #[error("attestations are not read yet")]
    Unread,
}

/// One attestation, as it was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attestation {
    /// The format's version: 1.
    pub version: u64,
    /// Certificate and transparency log entries.
    pub verification_material: Value,
    /// Statement and signature.
    pub envelope: Value,
}

/// The attestations of one file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attestations(Vec<Attestation>);

impl Attestations {
    /// Reads the form's field, a JSON array, for a file of this name and SHA-256.
    pub fn parse(_json: &str, _name: &FileName, _sha256: &[u8; 32]) -> Result<Self, AttestationError> {
        Err(AttestationError::Unread)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Attestation> {
        self.0.iter()
    }
}

/// The provenance object that the integrity API gives out for one file (serialise it with serde).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Provenance {
    version: u64,
    attestation_bundles: Vec<Bundle>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Bundle {
    publisher: Value,
    attestations: Vec<Attestation>,
}

impl Provenance {
    /// Of attestations that one publisher sent: `kind` (such as `GitHub`) and what else is known of it.
    pub fn new(publisher: &serde_json::Map<String, Value>, attestations: &Attestations) -> Self {
        let publisher = Value::Object(publisher.clone());
        let bundle = Bundle { publisher, attestations: attestations.0.clone() };
        Self { version: 1, attestation_bundles: vec![bundle] }
    }
}
