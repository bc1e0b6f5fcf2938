//! Attestations (PEP 740): their shape, and that they are of this file.
//!
//! **Never.** Signatures and certificates are not verified here: that takes the roots of a public log. So what is
//! kept is what its sender says, bound to the file by name and digest; who reads it verifies it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::file_name::FileName;
use crate::quote::{quote, reason};

/// The most bytes of a form's attestations.
const MAX_BYTES: usize = 1 << 20;
/// The kinds of statement, of each of which a file may have one.
const PREDICATES: &[&str] =
    &["https://docs.pypi.org/attestations/publish/v1", "https://slsa.dev/provenance/v1"];

/// Why attestations are refused. Values are quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// Too many bytes.
    #[error("the attestations have {got} bytes; at most {MAX_BYTES} are allowed")]
    TooLarge {
        /// How many they have.
        got: usize,
    },
    /// Not the JSON that they have to be.
    #[error("the attestations are not a JSON array of attestation objects: {reason}")]
    Json {
        /// What is wrong.
        reason: String,
    },
    /// Not the JSON that a provenance has to be.
    #[error("this is no provenance object of version 1: {reason}")]
    Provenance {
        /// What is wrong.
        reason: String,
    },
    /// An empty list.
    #[error("the attestations are an empty list; leave the field out where there are none")]
    None,
    /// Another version of the format.
    #[error("an attestation has version {got}; known is 1")]
    FormatVersion {
        /// The version.
        got: u64,
    },
    /// A part that is not as it has to be.
    #[error("an attestation's {part} is not {wanted}")]
    Part {
        /// Which part.
        part: &'static str,
        /// What it has to be.
        wanted: &'static str,
    },
    /// A statement of a kind that is not taken.
    #[error(
        "an attestation has the predicate type {got}; taken are the publish attestation and SLSA provenance, version 1"
    )]
    Predicate {
        /// The kind.
        got: String,
    },
    /// Two of one kind.
    #[error("two attestations have the predicate type {kind}; there may be one")]
    Repeated {
        /// The kind.
        kind: String,
    },
    /// Of another file, by name.
    #[error("an attestation is of {got}, but the file is {wanted}")]
    OtherName {
        /// The name in it.
        got: String,
        /// The file's name.
        wanted: String,
    },
    /// Of another file, by digest.
    #[error("an attestation is of sha256 {got}, but the file's is {wanted}")]
    OtherDigest {
        /// The digest in it.
        got: String,
        /// The file's.
        wanted: String,
    },
}

/// One attestation, as it was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    version: u64,
    verification_material: Material,
    envelope: Envelope,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Material {
    certificate: String,
    transparency_entries: Vec<Map<String, Value>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    statement: String,
    signature: String,
}

#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate: String,
}

#[derive(Deserialize)]
struct Subject {
    name: String,
    digest: Map<String, Value>,
}

/// The attestations of one file: at least one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attestations(Vec<Attestation>);

impl Attestations {
    /// Reads the form's field, a JSON array, for a file of this name and SHA-256.
    pub fn parse(json: &str, name: &FileName, sha256: &[u8; 32]) -> Result<Self, AttestationError> {
        if json.len() > MAX_BYTES {
            return Err(AttestationError::TooLarge { got: json.len() });
        }
        let all: Vec<Attestation> = serde_json::from_str(json)
            .map_err(|error| AttestationError::Json { reason: reason(&error) })?;
        if all.is_empty() {
            return Err(AttestationError::None);
        }
        check(&all, name, sha256)?;
        Ok(Self(all))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Attestation> {
        self.0.iter()
    }
}

/// Checks what one publisher sent of a file.
fn check(all: &[Attestation], name: &FileName, sha256: &[u8; 32]) -> Result<(), AttestationError> {
    let mut kinds = Vec::new();
    for one in all {
        let kind = one.check(name, sha256)?;
        if kinds.contains(&kind) {
            return Err(AttestationError::Repeated { kind: quote(&kind) });
        }
        kinds.push(kind);
    }
    Ok(())
}

impl Attestation {
    /// Checks it, and returns its kind.
    fn check(&self, name: &FileName, sha256: &[u8; 32]) -> Result<String, AttestationError> {
        if self.version != 1 {
            return Err(AttestationError::FormatVersion { got: self.version });
        }
        base64(&self.verification_material.certificate, "certificate")?;
        base64(&self.envelope.signature, "signature")?;
        if self.verification_material.transparency_entries.is_empty() {
            let part = "list of transparency entries";
            return Err(AttestationError::Part { part, wanted: "at least one" });
        }
        let bytes = base64(&self.envelope.statement, "statement")?;
        let wanted = "an in-toto statement, version 1, of one subject with a sha256";
        let broken = || AttestationError::Part { part: "statement", wanted };
        let statement: Statement = serde_json::from_slice(&bytes).map_err(|_| broken())?;
        if statement.kind != "https://in-toto.io/Statement/v1" {
            return Err(broken());
        }
        let [subject] = statement.subject.as_slice() else { return Err(broken()) };
        let digest = subject.digest.get("sha256").and_then(Value::as_str).ok_or_else(broken)?;
        if !PREDICATES.contains(&statement.predicate.as_str()) {
            return Err(AttestationError::Predicate { got: quote(&statement.predicate) });
        }
        let of = FileName::parse_published(&subject.name).map(|of| of.canonical());
        if of != Ok(name.canonical()) {
            let (got, wanted) = (quote(&subject.name), quote(name.as_str()));
            return Err(AttestationError::OtherName { got, wanted });
        }
        let wanted = const_hex::encode(sha256);
        if digest != wanted {
            return Err(AttestationError::OtherDigest { got: quote(digest), wanted });
        }
        Ok(statement.predicate)
    }
}

fn base64(text: &str, part: &'static str) -> Result<Vec<u8>, AttestationError> {
    let bytes = STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty());
    bytes.ok_or(AttestationError::Part { part, wanted: "base64 of something" })
}

/// The provenance object that the integrity API gives out for one file (serialise it with serde): of each
/// publisher what it sent, at least one attestation in all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    version: u64,
    attestation_bundles: Vec<Bundle>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Bundle {
    publisher: Map<String, Value>,
    attestations: Vec<Attestation>,
}

impl Provenance {
    /// Of attestations that one publisher sent: its `kind` (such as `GitHub`), and what else is known of it.
    pub fn new(kind: &str, claims: Map<String, Value>, attestations: &Attestations) -> Self {
        let mut publisher = claims;
        publisher.insert("kind".to_owned(), Value::String(kind.to_owned()));
        let bundle = Bundle { publisher, attestations: attestations.0.clone() };
        Self { version: 1, attestation_bundles: vec![bundle] }
    }

    /// Reads what another index gives out, for a file of this name and SHA-256. Who the publishers are is its
    /// word.
    pub fn parse(
        json: &[u8],
        name: &FileName,
        sha256: &[u8; 32],
    ) -> Result<Self, AttestationError> {
        if json.len() > MAX_BYTES {
            return Err(AttestationError::TooLarge { got: json.len() });
        }
        let wrong = |reason: &str| AttestationError::Provenance { reason: reason.to_owned() };
        let all: Self = serde_json::from_slice(json)
            .map_err(|error| AttestationError::Provenance { reason: reason(&error) })?;
        if all.version != 1 {
            return Err(wrong("its version is another"));
        }
        for bundle in &all.attestation_bundles {
            if !bundle.publisher.get("kind").is_some_and(Value::is_string) {
                return Err(wrong("a publisher has no kind"));
            }
            check(&bundle.attestations, name, sha256)?;
        }
        if all.attestation_bundles.iter().all(|bundle| bundle.attestations.is_empty()) {
            return Err(AttestationError::None);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests;
