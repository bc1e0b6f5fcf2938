//! The JSON form (PEP 691, 700, 708, 714, 740, 792).

use serde_json::{Map, Value, json};

use super::{API_VERSION, Listed, View, escaped, file_url};
use crate::project::{File, hex};
use crate::records::Status;

/// The page of a project.
pub(super) fn project(view: &View<'_>) -> String {
    let record = view.record;
    let mut meta = json!({ "api-version": API_VERSION });
    if !record.tracked().is_empty() {
        put(&mut meta, "tracks", record.tracked().to_vec().into());
    }
    let versions: Vec<String> = view.versions.iter().map(ToString::to_string).collect();
    let hidden = record.status == Status::Quarantined;
    let files: Vec<Value> =
        if hidden { Vec::new() } else { view.files.iter().map(|one| file(view, *one)).collect() };
    let mut page = json!({
        "meta": meta,
        "name": view.name.normalised(),
        "versions": versions,
        "files": files,
    });
    if record.status != Status::Active || record.reason.is_some() {
        let mut status = json!({ "status": record.status.as_str() });
        if let Some(reason) = &record.reason {
            put(&mut status, "reason", reason.clone().into());
        }
        put(&mut page, "project-status", status);
    }
    if !record.alternate_locations.is_empty() {
        put(&mut page, "alternate-locations", record.alternate_locations.clone().into());
    }
    page.to_string()
}

fn file(view: &View<'_>, file: Listed<'_>) -> Value {
    let (name, sha256) = (file.name().as_str(), file.sha256());
    let mut entry = Map::new();
    let mut add = |key: &str, value: Value| drop(entry.insert(key.to_owned(), value));
    add("filename", name.into());
    add("url", file_url(&sha256, name).into());
    add("hashes", json!({ "sha256": sha256 }));
    if let Some(requires) = file.requires_python() {
        add("requires-python", requires.into());
    }
    if let Some(size) = file.size() {
        add("size", size.into());
    }
    if let Some(uploaded) = file.uploaded() {
        add("upload-time", uploaded.into());
    }
    let yanked = view.record.yanked.get(name);
    // An empty text would be false to many readers.
    add(
        "yanked",
        yanked.map_or(false.into(), |reason| match reason.as_str() {
            "" => true.into(),
            reason => reason.into(),
        }),
    );
    let here = file.here();
    if let Some(metadata) = here.and_then(|file| file.metadata.as_ref()) {
        let hashes = json!({ "sha256": hex(metadata) });
        // The second name is what clients read that came before PEP 714.
        add("core-metadata", hashes.clone());
        add("dist-info-metadata", hashes);
    }
    add(
        "provenance",
        match here.filter(|file| file.provenance.is_some()) {
            Some(file) => provenance_url(view, file).into(),
            None => Value::Null,
        },
    );
    Value::Object(entry)
}

/// Where the provenance of a file is.
pub(super) fn provenance_url(view: &View<'_>, file: &File) -> String {
    let (project, name) = (view.name.normalised(), file.name.as_str());
    let version = file.name.version().to_string();
    let (version, name) = (escaped(&version), escaped(name));
    format!("{}/integrity/{project}/{version}/{name}/provenance", view.base)
}

/// The list of projects.
pub(crate) fn projects(names: &[String]) -> String {
    let projects: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
    json!({ "meta": { "api-version": API_VERSION }, "projects": projects }).to_string()
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(object) = object {
        object.insert(key.to_owned(), value);
    }
}
