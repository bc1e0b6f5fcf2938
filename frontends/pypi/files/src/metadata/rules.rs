//! What each field may say.

use std::fmt;

use super::headers::Field;
use super::{CoreMetadata, MetadataError};
use crate::name::ProjectName;
use crate::quote::quote;
use crate::requirement::{Requirement, specifiers};
use crate::version::Version;

const VERSIONS: &[&str] = &["1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5"];
/// The most characters of a summary.
const MAX_SUMMARY: usize = 512;
/// The most characters of a project URL's label.
const MAX_LABEL: usize = 32;

const ONCE: &[&str] = &[
    "metadata-version",
    "name",
    "version",
    "summary",
    "description",
    "description-content-type",
    "keywords",
    "home-page",
    "download-url",
    "author",
    "author-email",
    "maintainer",
    "maintainer-email",
    "license",
    "license-expression",
    "requires-python",
];
const REPEATED: &[&str] = &[
    "license-file",
    "classifier",
    "platform",
    "supported-platform",
    "requires-dist",
    "requires-external",
    "project-url",
    "provides-extra",
    "provides-dist",
    "obsoletes-dist",
    "dynamic",
    "import-name",
    "import-namespace",
    // From before version 1.2; read by nobody.
    "requires",
    "provides",
    "obsoletes",
];
/// Fields that may have several lines.
const LONG: &[&str] = &[
    "description",
    "license",
    "keywords",
    "author",
    "author-email",
    "maintainer",
    "maintainer-email",
];

/// The fields of a file, taken out one by one.
struct Fields(Vec<Field>);

impl Fields {
    fn one(&mut self, name: &'static str) -> Option<String> {
        let at = self.0.iter().position(|field| field.name == name)?;
        Some(self.0.swap_remove(at).value).filter(|value| !value.is_empty() && value != "UNKNOWN")
    }

    fn needed(&mut self, name: &'static str) -> Result<String, MetadataError> {
        self.one(name).ok_or(MetadataError::Missing { field: name })
    }

    fn all(&self, name: &'static str) -> Vec<String> {
        let of_name = self.0.iter().filter(|field| field.name == name);
        let values = of_name.map(|field| field.value.clone());
        values.filter(|value| !value.is_empty() && value != "UNKNOWN").collect()
    }
}

pub(super) fn read(fields: Vec<Field>, body: Option<&str>) -> Result<CoreMetadata, MetadataError> {
    known_and_once(&fields)?;
    let mut fields = Fields(fields);
    let metadata_version = fields.needed("metadata-version")?;
    if !VERSIONS.contains(&metadata_version.as_str()) {
        return Err(MetadataError::FormatVersion { version: quote(&metadata_version) });
    }
    let name = ProjectName::parse(&fields.needed("name")?).map_err(MetadataError::Name)?;
    let version = Version::parse(&fields.needed("version")?).map_err(MetadataError::Version)?;
    let in_header = fields.one("description").map(|text| dedent(&text));
    if in_header.is_some() && body.is_some() {
        return Err(MetadataError::TwoDescriptions);
    }
    let metadata = CoreMetadata {
        metadata_version,
        name,
        version,
        summary: fields.one("summary"),
        description: in_header.or_else(|| body.map(str::to_owned)),
        description_content_type: fields.one("description-content-type"),
        keywords: fields.one("keywords"),
        home_page: fields.one("home-page"),
        download_url: fields.one("download-url"),
        author: fields.one("author"),
        author_email: fields.one("author-email"),
        maintainer: fields.one("maintainer"),
        maintainer_email: fields.one("maintainer-email"),
        license: fields.one("license"),
        license_expression: fields.one("license-expression"),
        license_files: fields.all("license-file"),
        classifiers: fields.all("classifier"),
        platforms: fields.all("platform"),
        supported_platforms: fields.all("supported-platform"),
        requires_python: fields.one("requires-python"),
        requires_dist: fields.all("requires-dist"),
        requires_external: fields.all("requires-external"),
        project_urls: fields.all("project-url"),
        provides_extra: fields.all("provides-extra"),
        provides_dist: fields.all("provides-dist"),
        obsoletes_dist: fields.all("obsoletes-dist"),
        dynamic: fields.all("dynamic"),
    };
    check(&metadata)?;
    Ok(metadata)
}

fn known_and_once(fields: &[Field]) -> Result<(), MetadataError> {
    let mut seen = std::collections::HashSet::new();
    for field in fields {
        let name = field.name.as_str();
        if !REPEATED.contains(&name) {
            if !ONCE.contains(&name) {
                return Err(MetadataError::Unknown { field: quote(name) });
            }
            if !seen.insert(name) {
                return Err(MetadataError::Repeated { field: name.to_owned() });
            }
        }
        if field.value.contains('\n') && !LONG.contains(&name) {
            return Err(MetadataError::SeveralLines { field: name.to_owned() });
        }
    }
    Ok(())
}

fn check(metadata: &CoreMetadata) -> Result<(), MetadataError> {
    if let Some(text) = &metadata.requires_python {
        specifiers(text).map_err(|reason| refuse("requires-python", text, reason))?;
    }
    let requirements = [
        ("requires-dist", &metadata.requires_dist),
        ("provides-dist", &metadata.provides_dist),
        ("obsoletes-dist", &metadata.obsoletes_dist),
    ];
    for (field, texts) in requirements {
        for text in texts {
            Requirement::parse(text).map_err(|reason| refuse(field, text, reason))?;
        }
    }
    for extra in &metadata.provides_extra {
        ProjectName::parse(extra).map_err(|error| refuse("provides-extra", extra, error))?;
    }
    if let Some(text) = metadata.summary.as_ref().filter(|text| text.chars().count() > MAX_SUMMARY)
    {
        let reason = format!("at most {MAX_SUMMARY} characters are allowed");
        return Err(refuse("summary", text, reason));
    }
    if let Some(text) = &metadata.description_content_type {
        content_type(text)?;
    }
    for (field, url) in
        [("home-page", &metadata.home_page), ("download-url", &metadata.download_url)]
    {
        if let Some(url) = url {
            web_address(field, url, url)?;
        }
    }
    for text in &metadata.project_urls {
        project_url(text)?;
    }
    for path in &metadata.license_files {
        license_path(path)?;
    }
    if let Some(text) = &metadata.license_expression {
        license_expression(text)?;
    }
    for field in &metadata.dynamic {
        let name = field.to_ascii_lowercase();
        let known = ONCE.contains(&name.as_str()) || REPEATED.contains(&name.as_str());
        if !known || ["metadata-version", "name", "version"].contains(&name.as_str()) {
            return Err(refuse("dynamic", field, "no such field can be dynamic"));
        }
    }
    Ok(())
}

fn refuse(field: &'static str, value: &str, reason: impl fmt::Display) -> MetadataError {
    MetadataError::Value { field, value: quote(value), reason: reason.to_string() }
}

fn content_type(text: &str) -> Result<(), MetadataError> {
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if ["text/plain", "text/x-rst", "text/markdown"].contains(&kind.as_str()) {
        return Ok(());
    }
    let reason = "it has to be text/plain, text/x-rst or text/markdown";
    Err(refuse("description-content-type", text, reason))
}

/// Pages show these as links: nothing but the web is linked to.
fn web_address(field: &'static str, whole: &str, url: &str) -> Result<(), MetadataError> {
    let lower = url.to_ascii_lowercase();
    let web = lower.starts_with("https://") || lower.starts_with("http://");
    if web && !url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Ok(());
    }
    Err(refuse(field, whole, "an address has to begin with https:// or http:// and have no spaces"))
}

fn project_url(text: &str) -> Result<(), MetadataError> {
    let field = "project-url";
    let (label, url) = text
        .split_once(',')
        .map(|(label, url)| (label.trim(), url.trim()))
        .filter(|(label, _)| !label.is_empty())
        .ok_or_else(|| refuse(field, text, "it has to be a label, a comma and an address"))?;
    if label.chars().count() > MAX_LABEL {
        return Err(refuse(field, text, format!("a label has at most {MAX_LABEL} characters")));
    }
    web_address(field, text, url)
}

fn license_path(path: &str) -> Result<(), MetadataError> {
    let outside = |part: &str| part.is_empty() || part == "." || part == "..";
    if path.contains(['\\', '*', '?', ':']) || path.split('/').any(outside) {
        return Err(refuse(
            "license-file",
            path,
            "it has to be a relative path with \"/\" and no \"..\"",
        ));
    }
    Ok(())
}

fn license_expression(text: &str) -> Result<(), MetadataError> {
    let inside = |c: char| c.is_ascii_alphanumeric() || "-.+() :".contains(c);
    let even = text.matches('(').count() == text.matches(')').count();
    if even && text.chars().all(inside) {
        return Ok(());
    }
    Err(refuse("license-expression", text, "it is not an SPDX expression"))
}

/// Older tools indent the description's further lines by eight spaces, or by seven and a bar.
fn dedent(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        line.strip_prefix("        ").or_else(|| line.strip_prefix("       |")).unwrap_or(line)
    });
    lines.collect::<Vec<_>>().join("\n")
}
