use serde_json::Value;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_python::FileName;

use super::*;
use crate::project::File;
use crate::records::Status;

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn file(name: &str) -> File {
    File {
        name: FileName::parse_published(name).unwrap(),
        manifest: sha256(b"manifest"),
        content: sha256(b"content"),
        size: 7,
        uploaded: "2024-01-02T03:04:05.678Z".to_owned(),
        requires_python: Some(">=3.8,<4 \"'&".to_owned()),
        metadata: Some(sha256(b"metadata")),
        config: sha256(b"config"),
        provenance: Some(sha256(b"provenance")),
        upstream: None,
    }
}

fn rendered(record: &ProjectRecord) -> (Value, String) {
    let wheel = file("foo_bar-1.0+cpu-py3-none-any.whl");
    let versions = ["1.0+cpu".parse().unwrap(), "2.0".parse().unwrap()];
    let name = ProjectName::parse("foo-bar").unwrap();
    let base = "https://host/pypi/acme/main";
    let (versions, files) = (&versions[..], vec![Listed::Here(&wheel)]);
    let view = View { name: &name, versions, files, record, base };
    (serde_json::from_str(&json::project(&view)).unwrap(), html::project(&view))
}

const URL: &str = "../../files/ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73/foo_bar-1.0+cpu-py3-none-any.whl";
const PROVENANCE: &str = "https://host/pypi/acme/main/integrity/foo-bar/1.0+cpu/foo_bar-1.0+cpu-py3-none-any.whl/provenance";

#[test]
fn a_page_says_all_that_the_specification_has() {
    let mut record = ProjectRecord::default();
    record.yanked.insert("foo_bar-1.0+cpu-py3-none-any.whl".to_owned(), "it's <bad>".to_owned());
    record.tracks = vec!["https://elsewhere/simple/foo-bar/".to_owned()];
    record.status = Status::Deprecated;
    record.reason = Some("use \"baz\"".to_owned());
    let (page, html) = rendered(&record);
    let metadata = hex_of(b"metadata");
    assert_eq!(page["meta"]["api-version"], "1.4");
    assert_eq!(page["meta"]["tracks"][0], "https://elsewhere/simple/foo-bar/");
    assert_eq!(page["name"], "foo-bar");
    assert_eq!(page["versions"], serde_json::json!(["1.0+cpu", "2.0"]));
    assert_eq!(page["project-status"]["status"], "deprecated");
    assert_eq!(page["project-status"]["reason"], "use \"baz\"");
    let file = &page["files"][0];
    assert_eq!(file["url"], URL);
    assert_eq!(file["hashes"]["sha256"], hex_of(b"content"));
    assert_eq!(file["size"], 7);
    assert_eq!(file["upload-time"], "2024-01-02T03:04:05.678Z");
    assert_eq!(file["yanked"], "it's <bad>");
    assert_eq!(file["core-metadata"]["sha256"], metadata);
    assert_eq!(file["dist-info-metadata"]["sha256"], metadata);
    assert_eq!(file["requires-python"], ">=3.8,<4 \"'&");
    assert_eq!(file["provenance"], PROVENANCE);
    for part in [
        "<meta name=\"pypi:repository-version\" content=\"1.4\">",
        "<meta name=\"pypi:project-status\" content=\"deprecated\">",
        "<meta name=\"pypi:project-status-reason\" content=\"use &quot;baz&quot;\">",
        "<meta name=\"pypi:tracks\" content=\"https://elsewhere/simple/foo-bar/\">",
        &format!("href=\"{URL}#sha256={}\"", hex_of(b"content")),
        "data-requires-python=\"&gt;=3.8,&lt;4 &quot;&#39;&amp;\"",
        "data-yanked=\"it&#39;s &lt;bad&gt;\"",
        &format!("data-core-metadata=\"sha256={metadata}\""),
        &format!("data-dist-info-metadata=\"sha256={metadata}\""),
        &format!("data-provenance=\"{PROVENANCE}\""),
        ">foo_bar-1.0+cpu-py3-none-any.whl</a>",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
}

fn hex_of(bytes: &[u8]) -> String {
    crate::project::hex(&sha256(bytes))
}

#[test]
fn a_yank_without_a_reason_is_one_and_an_active_project_says_nothing() {
    let (page, html) = rendered(&ProjectRecord::default());
    assert_eq!(page["files"][0]["yanked"], false);
    assert!(page.get("project-status").is_none() && !html.contains("project-status"));
    assert!(!html.contains("data-yanked"));
    let mut record = ProjectRecord::default();
    record.yanked.insert("foo_bar-1.0+cpu-py3-none-any.whl".to_owned(), String::new());
    let (page, html) = rendered(&record);
    assert_eq!(page["files"][0]["yanked"], true);
    assert!(html.contains("data-yanked=\"\""));
}

#[test]
fn a_quarantined_project_offers_nothing() {
    let record = ProjectRecord { status: Status::Quarantined, ..ProjectRecord::default() };
    let (page, html) = rendered(&record);
    assert_eq!(page["files"], serde_json::json!([]));
    assert_eq!(page["project-status"]["status"], "quarantined");
    assert!(!html.contains("<a"));
}

#[tokio::test]
async fn an_encoding_has_a_tag_of_its_own() {
    use std::io::Read;
    let page = Page::new("hello ".repeat(1_000));
    let (plain, gzip) = (page.encoded(false).await.unwrap(), page.encoded(true).await.unwrap());
    assert_ne!(plain.etag, gzip.etag);
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*gzip.bytes).read_to_string(&mut text).unwrap();
    assert_eq!(text.as_bytes(), &*plain.bytes);
    assert!(gzip.bytes.len() < plain.bytes.len() / 10);
}
