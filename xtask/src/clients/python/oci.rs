//! Packages as OCI artifacts: what was uploaded is pulled, and its provenance found; what is untagged is
//! gone from the pages; what oras pushes in the documented form is installed.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use ureq::SendBody;

use super::{PROJECT, Python, sha256_of};
use crate::clients::oras::Oras;
use crate::clients::{Scene, contains, same_bytes};
use crate::http::expect;
use crate::run;

const FILE: &str = "application/vnd.strongroom.python.file.v1";
const RELEASE: &str = "application/vnd.strongroom.python.release.v1";
const PROVENANCE: &str = "application/vnd.strongroom.python.provenance.v1";
const CONFIG: &str = "application/vnd.strongroom.python.metadata.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const TITLE: &str = "org.opencontainers.image.title";
/// Between the parts of a form.
const BOUNDARY: &str = "strongroom-clients";

impl Python {
    pub(super) fn as_oci(&self, scene: &Scene) -> Result<()> {
        let oras = Oras::new(scene)?;
        oras.login(&scene.registry.address())?;
        let name = scene.name(PROJECT);
        let digest = manifest_of(&oras, &name, "1.0", &Self::wheel("1.0"))?;
        let pulled = scene.path("pulled-python");
        oras.run(&["pull", &format!("{name}@{digest}"), "-o", &pulled.to_string_lossy()])?;
        let wheel = Self::wheel("1.0");
        same_bytes(&self.dist("1.0").join(&wheel), &pulled.join(&wheel))?;
        self.attested(&oras, &name)?;
        oras.run(&["manifest", "delete", "--force", &format!("{name}:1.4")])?;
        let shown = self.page(PROJECT, "text/html")?;
        ensure!(!shown.contains("vault_sample-1.4"), "what was deleted by OCI is still shown");
        self.pushed(scene, &oras, &name)
    }

    /// Attestations that came with an upload are referrers of its manifest, and served as provenance.
    fn attested(&self, oras: &Oras, name: &str) -> Result<()> {
        let version = "1.6";
        self.build(version)?;
        let wheel = self.dist(version).join(Self::wheel(version));
        let sha256 = sha256_of(&wheel)?;
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": Self::wheel(version), "digest": { "sha256": sha256 } }],
            "predicateType": "https://docs.pypi.org/attestations/publish/v1",
            "predicate": null,
        });
        let attestations = json!([{
            "version": 1,
            "verification_material": {
                "certificate": STANDARD.encode("a certificate"),
                "transparency_entries": [{ "logIndex": "1" }],
            },
            "envelope": {
                "statement": STANDARD.encode(statement.to_string()),
                "signature": STANDARD.encode("a signature"),
            },
        }]);
        let mut form = Vec::new();
        for (field, value) in [
            (":action", "file_upload"),
            ("protocol_version", "1"),
            ("filetype", "bdist_wheel"),
            ("pyversion", "py3"),
            ("metadata_version", "2.4"),
            ("name", PROJECT),
            ("version", version),
            ("sha256_digest", &sha256),
            ("attestations", &attestations.to_string()),
        ] {
            part(&mut form, &format!("name=\"{field}\""), value.as_bytes());
        }
        let content = format!("name=\"content\"; filename=\"{}\"", Self::wheel(version));
        part(&mut form, &content, &std::fs::read(&wheel)?);
        form.extend(format!("--{BOUNDARY}--\r\n").into_bytes());
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let headers = [("content-type", &*kind), ("content-length", &form.len().to_string())];
        let mut sent = &form[..];
        let sent = SendBody::from_reader(&mut sent);
        expect(self.client().send("POST", &self.legacy(), &headers, sent)?, 200)?;
        let digest = manifest_of(oras, name, version, &Self::wheel(version))?;
        let found = oras.output(&["discover", "--format", "json", &format!("{name}@{digest}")])?;
        contains(&found, PROVENANCE)?;
        let files = self.page_files(PROJECT)?;
        let file = files.iter().find(|file| file["filename"] == *Self::wheel(version));
        let url = file.and_then(|file| file["provenance"].as_str()).context("no provenance")?;
        let given = expect(self.client().get(url)?, 200)?.body_mut().read_to_string()?;
        let given: Value = serde_json::from_str(&given).context("reading the provenance")?;
        let bundle = &given["attestation_bundles"][0]["attestations"];
        ensure!(*bundle == attestations, "other attestations are given out: {given}");
        Ok(())
    }

    /// As the documentation has it: a manifest for the file, an index under the version's tag.
    fn pushed(&self, scene: &Scene, oras: &Oras, name: &str) -> Result<()> {
        let version = "1.7";
        self.build(version)?;
        let wheel = Self::wheel(version);
        std::fs::copy(self.dist(version).join(&wheel), scene.path(&wheel))?;
        let config = json!({ "name": PROJECT, "version": version, "metadata_version": "2.4" });
        std::fs::write(scene.path("core-metadata.json"), config.to_string())?;
        let pushed = oras.output(&[
            "push",
            name,
            "--format",
            "json",
            "--artifact-type",
            FILE,
            "--config",
            &format!("core-metadata.json:{CONFIG}"),
            "--annotation",
            &format!("{TITLE}={wheel}"),
            &format!("{wheel}:application/vnd.python.wheel"),
        ])?;
        let pushed: Value = serde_json::from_str(&pushed).context("reading what oras pushed")?;
        let index = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "artifactType": RELEASE,
            "manifests": [{
                "mediaType": pushed["mediaType"],
                "digest": pushed["digest"],
                "size": pushed["size"],
                "annotations": { TITLE: wheel },
            }],
        });
        std::fs::write(scene.path("index.json"), index.to_string())?;
        let tagged = format!("{name}:{version}");
        oras.run(&["manifest", "push", "--media-type", INDEX, &tagged, "index.json"])?;
        let mut pip = self.tool("pip", ".");
        pip.args(["install", "--no-deps", "--target", "by-oras", "--index-url", &self.index()]);
        run::output(pip.arg(PROJECT))?;
        let text = std::fs::read_to_string(self.folder.join("by-oras/vault_sample.py"))?;
        contains(&text, version)
    }
}

/// Adds a part to a form.
fn part(form: &mut Vec<u8>, what: &str, value: &[u8]) {
    let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {what}\r\n\r\n");
    form.extend([head.as_bytes(), value, b"\r\n"].concat());
}

/// The digest of the manifest of a version's file.
fn manifest_of(oras: &Oras, name: &str, version: &str, file: &str) -> Result<String> {
    let index = oras.output(&["manifest", "fetch", &format!("{name}:{version}")])?;
    let index: Value = serde_json::from_str(&index)?;
    let entries = index["manifests"].as_array().context("an index without entries")?;
    let entry = entries.iter().find(|entry| entry["annotations"][TITLE] == *file);
    let digest = entry.and_then(|entry| entry["digest"].as_str());
    Ok(digest.context("the index does not list the file")?.to_owned())
}
