//! The fields of an upload's form (all but `content`), and whether they agree with the file.
//!
//! A client reads the file's metadata and sends them as fields too. Nothing is taken from there: what is
//! shown later is what the file says. But a form that tells another story, of what decides what gets
//! installed, comes from somebody who wants two readers to see two packages, and is refused.

use std::collections::BTreeMap;

use crate::digests::{ClaimedDigests, DigestError, Others};
use crate::file_name::{FileKind, FileName};
use crate::metadata::CoreMetadata;
use crate::name::ProjectName;
use crate::quote::quote;
use crate::requirement::{Requirement, specifiers};
use crate::version::Version;

/// The most values of one form.
const MAX_VALUES: usize = 20_000;
/// The most bytes of all names and values of one form.
const MAX_BYTES: usize = 8 << 20;
/// The most bytes of a field's name.
const MAX_NAME: usize = 64;

/// Fields that a form has once: with two of them, two readers could take one each.
const ONCE: &[&str] = &[
    ":action",
    "protocol_version",
    "filetype",
    "pyversion",
    "metadata_version",
    "name",
    "version",
    "requires_python",
    "sha256_digest",
    "blake2_256_digest",
    "md5_digest",
    "attestations",
    "summary",
    "description",
    "description_content_type",
    "license",
    "license_expression",
];

/// Why a form is refused, whatever the file says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// A field that has to be there.
    #[error("the form has no {field}")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A field twice that may be there once.
    #[error("the form has the field {field} more than once")]
    Repeated {
        /// Its name.
        field: String,
    },
    /// A value that the field does not take.
    #[error("the form's {field} is {value}; it has to be {wanted}")]
    Value {
        /// Its name.
        field: &'static str,
        /// What it says, quoted.
        value: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// A field's name is too long.
    #[error("the form has a field with a name of {got} bytes; at most {MAX_NAME} are allowed")]
    LongName {
        /// How many it has.
        got: usize,
    },
    /// More than anybody needs.
    #[error("the form's fields have more than {MAX_BYTES} bytes, or {MAX_VALUES} values")]
    TooLarge,
}

/// Where form and file disagree. Values are quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disagreement {
    /// Another kind of file than its name says.
    #[error("the form's {field} is {value}, but the file {file} is {wanted}")]
    Kind {
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
        /// The file's name.
        file: String,
        /// What it would have to say.
        wanted: &'static str,
    },
    /// Another name or version.
    #[error("the form's {field} is {value}, but the {place} is of {wanted}")]
    Identity {
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
        /// Where the other is: the file's name, or its metadata.
        place: &'static str,
        /// What that says.
        wanted: String,
    },
    /// A value that can't be read at all.
    #[error("the form's {field} {value} is not valid: {reason}")]
    Unreadable {
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another value than the metadata have.
    #[error("the form's {field} says {value}, which the metadata in the file do not")]
    OnlyInForm {
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// The metadata have a value that is not among those of the form.
    #[error("the form's {field} leaves out {value}, which the metadata in the file have")]
    OnlyInFile {
        /// The field.
        field: &'static str,
        /// What they say.
        value: String,
    },
}

/// The fields as they arrived: call [`FormFields::add`] for each but `content`, in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FormFields {
    fields: BTreeMap<String, Vec<String>>,
    values: usize,
    bytes: usize,
}

impl FormFields {
    /// The longest value, in bytes, that can be among the fields.
    pub const MAX_VALUE: usize = MAX_BYTES;

    /// Takes the next field. A field that may be there only once is refused when it comes again.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), FormError> {
        if name.len() > MAX_NAME {
            return Err(FormError::LongName { got: name.len() });
        }
        self.values += 1;
        self.bytes = self.bytes.saturating_add(name.len()).saturating_add(value.len());
        if self.values > MAX_VALUES || self.bytes > MAX_BYTES {
            return Err(FormError::TooLarge);
        }
        let values = self.fields.entry(name.to_owned()).or_default();
        if ONCE.contains(&name) && !values.is_empty() {
            return Err(FormError::Repeated { field: name.to_owned() });
        }
        values.push(value.to_owned());
        Ok(())
    }

    /// The value of a field that is there once; `None` where absent or empty.
    pub fn one(&self, name: &str) -> Option<&str> {
        let first = self.fields.get(name).and_then(|all| all.first());
        first.map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All values of a field, less the empty ones.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let all = self.fields.get(name).into_iter().flatten();
        all.map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Which digests beside SHA-256 the form claims so far.
    pub fn others(&self) -> Others {
        let claims = |field| self.one(field).is_some();
        Others { blake2b_256: claims("blake2_256_digest"), md5: claims("md5_digest") }
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

    /// Whether the form asks for an upload, and has what one needs.
    pub fn check(&self) -> Result<(), FormError> {
        let needed = |field| self.one(field).ok_or(FormError::Missing { field });
        let is = |field, wanted: &[&str], shown| match needed(field)? {
            value if wanted.contains(&value) => Ok(()),
            value => Err(FormError::Value { field, value: quote(value), wanted: shown }),
        };
        is(":action", &["file_upload"], "file_upload")?;
        is("protocol_version", &["1"], "1")?;
        is("filetype", &["bdist_wheel", "sdist"], "bdist_wheel or sdist")?;
        needed("metadata_version")?;
        needed("name")?;
        needed("version").map(|_| ())
    }
}

/// Refuses a form that tells another story than the file's name and its metadata do, in what decides
/// what gets installed: kind, name, version, Python versions, dependencies, extras.
pub fn agree(
    form: &FormFields,
    name: &FileName,
    metadata: &CoreMetadata,
) -> Result<(), Disagreement> {
    kind(form, name)?;
    identity(form, name, metadata)?;
    let python = metadata.requires_python.as_deref();
    compare(
        "requires_python",
        form.one("requires_python").into_iter().collect(),
        python.into_iter().collect(),
        specifiers,
    )?;
    compare(
        "requires_dist",
        form.all("requires_dist").collect(),
        metadata.requires_dist.iter().map(String::as_str).collect(),
        Requirement::parse,
    )?;
    compare(
        "provides_extra",
        form.all("provides_extra").chain(form.all("provides_extras")).collect(),
        metadata.provides_extra.iter().map(String::as_str).collect(),
        |extra| match ProjectName::parse(extra) {
            Ok(extra) => Ok(extra.normalised().to_owned()),
            Err(error) => Err(error.to_string()),
        },
    )
}

fn kind(form: &FormFields, name: &FileName) -> Result<(), Disagreement> {
    let refuse = |field, value: &str, wanted| {
        let (value, file) = (quote(value), quote(name.as_str()));
        Err(Disagreement::Kind { field, value, file, wanted })
    };
    match form.one("filetype") {
        Some(value) if value != name.kind().file_type() => {
            return refuse("filetype", value, name.kind().file_type());
        }
        _ => {}
    }
    match (form.one("pyversion"), name.kind()) {
        (Some(value), FileKind::Sdist) if value != "source" => refuse("pyversion", value, "source"),
        (Some(value @ "source"), FileKind::Wheel(_)) => {
            refuse("pyversion", value, "for a Python version")
        }
        _ => Ok(()),
    }
}

fn identity(
    form: &FormFields,
    name: &FileName,
    metadata: &CoreMetadata,
) -> Result<(), Disagreement> {
    const NAME: &str = "file's name";
    const METADATA: &str = "metadata in the file";
    if let Some(value) = form.one("name") {
        let read = ProjectName::parse(value).map_err(|error| unreadable("name", value, &error))?;
        for (place, other) in [(NAME, name.project()), (METADATA, &metadata.name)] {
            if read != *other {
                let (value, wanted) = (quote(value), other.to_string());
                return Err(Disagreement::Identity { field: "name", value, place, wanted });
            }
        }
    }
    if let Some(value) = form.one("version") {
        let read = Version::parse(value).map_err(|error| unreadable("version", value, &error))?;
        for (place, other) in [(NAME, name.version()), (METADATA, &metadata.version)] {
            if read != *other {
                let (value, wanted) = (quote(value), other.to_string());
                return Err(Disagreement::Identity { field: "version", value, place, wanted });
            }
        }
    }
    Ok(())
}

/// Compares what both say, in one form for all spellings. A form without any says nothing.
fn compare<'a, T: Ord>(
    field: &'static str,
    form: Vec<&'a str>,
    file: Vec<&'a str>,
    read: impl Fn(&'a str) -> Result<T, String>,
) -> Result<(), Disagreement> {
    if form.is_empty() {
        return Ok(());
    }
    let read_all = |texts: Vec<&'a str>| {
        let read = |text: &'a str| match read(text) {
            Ok(value) => Ok((value, text)),
            Err(reason) => Err(unreadable(field, text, &reason)),
        };
        texts.into_iter().map(read).collect::<Result<BTreeMap<T, &str>, _>>()
    };
    let (in_form, in_file) = (read_all(form)?, read_all(file)?);
    if let Some((_, text)) = in_form.iter().find(|(value, _)| !in_file.contains_key(value)) {
        return Err(Disagreement::OnlyInForm { field, value: quote(text) });
    }
    if let Some((_, text)) = in_file.iter().find(|(value, _)| !in_form.contains_key(value)) {
        return Err(Disagreement::OnlyInFile { field, value: quote(text) });
    }
    Ok(())
}

fn unreadable(field: &'static str, value: &str, reason: &impl ToString) -> Disagreement {
    Disagreement::Unreadable { field, value: quote(value), reason: reason.to_string() }
}

#[cfg(test)]
mod tests;
