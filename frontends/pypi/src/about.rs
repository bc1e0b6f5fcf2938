//! The JSON API: what is known of a project or one of its versions, for tools that show it.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use serde_json::{Map, Value, json};
use strongroom_http::Body;
use strongroom_python::{ProjectName, Version};

use crate::error::{Failure, Reply};
use crate::files::Offered;
use crate::gate::Asked;
use crate::pages::{Listed, Shown, escaped};
use crate::project::File;
use crate::routes::Place;
use crate::{Inner, Input, read};

/// `GET pypi/PROJECT/json` and `pypi/PROJECT/VERSION/json`
pub(crate) async fn json(
    service: &Inner,
    asked: &Asked,
    place: &Place,
    (project, version): (&ProjectName, Option<&Version>),
    input: &Input,
) -> Result<Reply, Failure> {
    let offered = service.offered(asked, place, project).await?;
    let shown = &*offered.seeing.shown;
    let versions = &shown.project.versions;
    let wanted = match version {
        Some(version) => versions.iter().find(|known| *known == version),
        // The latest that installers would take.
        None => versions.iter().rfind(|v| !v.is_prerelease()).or(versions.last()),
    };
    let wanted = wanted.ok_or_else(Failure::absent)?;
    let base = input.base_url.as_deref().unwrap_or_default();
    let base = format!("{base}/pypi/{}/{}", place.organisation, place.registry);
    let files = shown.files();
    let of = |version: &Version| -> Vec<Value> {
        let files = files.iter().filter(|file| file.name().version() == version);
        files.map(|file| entry(shown, *file, &base)).collect()
    };
    let urls = of(wanted);
    let mut info = match shown.project.of(wanted).next() {
        Some(file) => metadata(&offered, file).await?,
        None => Map::new(),
    };
    let yanked = urls.iter().filter(|url| url.get("yanked") == Some(&Value::Bool(true))).count();
    info.insert("name".to_owned(), project.normalised().into());
    info.insert("version".to_owned(), wanted.to_string().into());
    info.insert("yanked".to_owned(), (!urls.is_empty() && yanked == urls.len()).into());
    let mut page = json!({ "info": info, "urls": urls, "vulnerabilities": [] });
    if let (None, Some(page)) = (version, page.as_object_mut()) {
        let mut releases = Map::new();
        for version in versions {
            releases.insert(version.to_string(), Value::Array(of(version)));
        }
        page.insert("releases".to_owned(), Value::Object(releases));
    }
    let mut reply = Response::new(Body::from(page.to_string()));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(reply)
}

/// The core metadata of a file; it has the names of the JSON API already.
async fn metadata(offered: &Offered, file: &File) -> Result<Map<String, Value>, Failure> {
    let bytes = read::small(&offered.repository, &file.config).await?;
    // What somebody pushed as a config need not be metadata.
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

fn entry(shown: &Shown, file: Listed<'_>, base: &str) -> Value {
    let (name, sha256) = (file.name().as_str(), file.sha256());
    let yanked = shown.record.yanked.get(name);
    json!({
        "filename": name,
        "packagetype": file.name().kind().file_type(),
        "url": format!("{base}/files/{sha256}/{}", escaped(name)),
        "digests": { "sha256": sha256 },
        "size": file.size(),
        "requires_python": file.requires_python(),
        "upload_time_iso_8601": file.uploaded(),
        "yanked": yanked.is_some(),
        "yanked_reason": yanked.filter(|reason| !reason.is_empty()),
    })
}
