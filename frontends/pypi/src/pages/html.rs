//! The HTML form (PEP 503, with what came after).

use std::fmt::Write as _;

use super::json::provenance_url;
use super::{API_VERSION, Listed, View, file_url};
use crate::project::hex;
use crate::records::Status;

/// The page of a project.
pub(super) fn project(view: &View<'_>) -> String {
    let (name, record) = (view.name.normalised(), view.record);
    let mut head = String::new();
    if record.status != Status::Active || record.reason.is_some() {
        meta(&mut head, "pypi:project-status", record.status.as_str());
    }
    if let Some(reason) = &record.reason {
        meta(&mut head, "pypi:project-status-reason", reason);
    }
    for address in record.tracked() {
        meta(&mut head, "pypi:tracks", address);
    }
    for address in &record.alternate_locations {
        meta(&mut head, "pypi:alternate-locations", address);
    }
    let mut body = String::new();
    if record.status != Status::Quarantined {
        for one in &view.files {
            file(&mut body, view, *one);
        }
    }
    page(&format!("Links for {name}"), &head, &body)
}

fn file(out: &mut String, view: &View<'_>, file: Listed<'_>) {
    let (name, sha256) = (file.name().as_str(), file.sha256());
    let href = format!("{}#sha256={sha256}", file_url(&sha256, name));
    out.push_str("<a");
    attribute(out, "href", &href);
    if let Some(requires) = file.requires_python() {
        attribute(out, "data-requires-python", requires);
    }
    if let Some(reason) = view.record.yanked.get(name) {
        attribute(out, "data-yanked", reason);
    }
    let here = file.here();
    if let Some(metadata) = here.and_then(|file| file.metadata.as_ref()) {
        let hash = format!("sha256={}", hex(metadata));
        // The second name is what clients read that came before PEP 714.
        attribute(out, "data-core-metadata", &hash);
        attribute(out, "data-dist-info-metadata", &hash);
    }
    if let Some(file) = here.filter(|file| file.provenance.is_some()) {
        attribute(out, "data-provenance", &provenance_url(view, file));
    }
    let _infallible = writeln!(out, ">{}</a><br>", escape(name));
}

/// The list of projects.
pub(crate) fn projects(names: &[String]) -> String {
    let mut body = String::with_capacity(names.len() * 64);
    for name in names {
        // In its normal form, a name has nothing to escape.
        let _infallible = writeln!(body, "<a href=\"{name}/\">{name}</a><br>");
    }
    page("Simple index", "", &body)
}

fn page(title: &str, head: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"pypi:repository-version\" content=\"{API_VERSION}\">\n{head}\
         <title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

fn meta(out: &mut String, name: &str, content: &str) {
    out.push_str("<meta");
    attribute(out, "name", name);
    attribute(out, "content", content);
    out.push_str(">\n");
}

fn attribute(out: &mut String, name: &str, value: &str) {
    let _infallible = write!(out, " {name}=\"{}\"", escape(value));
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
