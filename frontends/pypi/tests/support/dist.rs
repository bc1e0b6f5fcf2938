//! Distribution files and the forms they are uploaded by.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A file with its form.
#[derive(Debug, Clone)]
pub(crate) struct Dist {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) metadata: String,
    pub(crate) fields: Vec<(String, String)>,
    /// Whether the file comes before the fields.
    pub(crate) file_first: bool,
}

impl Dist {
    pub(crate) fn sha256(&self) -> String {
        const_hex::encode(Sha256::digest(&self.bytes))
    }

    /// Where it is downloaded from, below the registry.
    pub(crate) fn path(&self) -> String {
        format!("files/{}/{}", self.sha256(), self.name)
    }

    /// Gives a field another value, or takes it away.
    pub(crate) fn with(mut self, field: &str, value: Option<&str>) -> Self {
        self.fields.retain(|(name, _)| name != field);
        self.fields.extend(value.map(|value| (field.to_owned(), value.to_owned())));
        self
    }

    /// The content type and the body of the form.
    pub(crate) fn form(&self) -> (String, Vec<u8>) {
        let boundary = "b0undary";
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for (name, value) in &self.fields {
            let head =
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            parts.push([head.as_bytes(), value.as_bytes(), b"\r\n"].concat());
        }
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"content\"; filename=\"{}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            self.name
        );
        let file = [head.as_bytes(), &self.bytes, b"\r\n"].concat();
        parts.insert(if self.file_first { 0 } else { parts.len() }, file);
        parts.push(format!("--{boundary}--\r\n").into_bytes());
        (format!("multipart/form-data; boundary={boundary}"), parts.concat())
    }
}

/// A file of these bytes, with the form of `foo` 1.0 that is right for its name.
pub(crate) fn foo(name: &str, bytes: Vec<u8>) -> Dist {
    let (file_type, python) =
        if name.contains(".whl") { ("bdist_wheel", "py3") } else { ("sdist", "source") };
    let fields = fields("foo", "1.0", file_type, python, &bytes);
    Dist { name: name.to_owned(), bytes, metadata: String::new(), fields, file_first: false }
}

fn metadata(name: &str, version: &str, more: &str) -> String {
    format!("Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n{more}\nThe description.\n")
}

fn fields(
    name: &str,
    version: &str,
    file_type: &str,
    python: &str,
    bytes: &[u8],
) -> Vec<(String, String)> {
    let sha256 = const_hex::encode(Sha256::digest(bytes));
    [
        (":action", "file_upload"),
        ("protocol_version", "1"),
        ("metadata_version", "2.2"),
        ("name", name),
        ("version", version),
        ("filetype", file_type),
        ("pyversion", python),
        ("sha256_digest", &sha256),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// Attestations of a file: of the right shape, signed by nobody.
pub(crate) fn attestations(dist: &Dist) -> Value {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": dist.name, "digest": { "sha256": dist.sha256() } }],
        "predicateType": "https://docs.pypi.org/attestations/publish/v1",
        "predicate": null,
    });
    let material = json!({ "certificate": "MIIC", "transparency_entries": [{ "logIndex": "1" }] });
    let envelope =
        json!({ "statement": STANDARD.encode(statement.to_string()), "signature": "MEUC" });
    json!([{ "version": 1, "verification_material": material, "envelope": envelope }])
}

/// A wheel; `salt` makes its bytes its own.
pub(crate) fn wheel(name: &str, version: &str, salt: &str) -> Dist {
    wheel_of(name, version, "py3-none-any", salt.as_bytes())
}

pub(crate) fn wheel_of(name: &str, version: &str, tags: &str, salt: &[u8]) -> Dist {
    let escaped = name.replace('-', "_");
    let metadata = metadata(name, version, "Requires-Python: >=3.8\n");
    let folder = format!("{escaped}-{version}.dist-info");
    let generated =
        format!("Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n{}", tags_lines(tags));
    let mut entries: Vec<(String, Vec<u8>)> = vec![
        (format!("{escaped}/__init__.py"), salt.to_vec()),
        (format!("{folder}/METADATA"), metadata.clone().into_bytes()),
        (format!("{folder}/WHEEL"), generated.into_bytes()),
    ];
    let mut record = String::new();
    for (path, bytes) in &entries {
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
        record
            .push_str(&[&**path, ",sha256=", &hash, ",", &bytes.len().to_string(), "\n"].concat());
    }
    record.push_str(&[&*folder, "/RECORD,,\n"].concat());
    entries.push((format!("{folder}/RECORD"), record.into_bytes()));
    let bytes = zip(&entries);
    let file = format!("{escaped}-{version}-{tags}.whl");
    let mut fields = fields(name, version, "bdist_wheel", "py3", &bytes);
    fields.push(("requires_python".to_owned(), ">=3.8".to_owned()));
    Dist { name: file, bytes, metadata, fields, file_first: false }
}

fn tags_lines(tags: &str) -> String {
    format!("Tag: {tags}\n")
}

/// A source distribution.
pub(crate) fn sdist(name: &str, version: &str, salt: &str) -> Dist {
    let escaped = name.replace('-', "_");
    let metadata = metadata(name, version, "");
    let root = format!("{escaped}-{version}");
    let entries = [
        (format!("{root}/PKG-INFO"), metadata.clone().into_bytes()),
        (format!("{root}/pyproject.toml"), b"[build-system]\nrequires = []\n".to_vec()),
        (format!("{root}/{escaped}.py"), salt.as_bytes().to_vec()),
    ];
    let bytes = tar_gz(&entries);
    let fields = fields(name, version, "sdist", "source", &bytes);
    Dist { name: format!("{root}.tar.gz"), bytes, metadata, fields, file_first: false }
}

/// A zip of stored entries.
fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let (crc, size) = (crc32fast::hash(bytes), u32::try_from(bytes.len()).unwrap());
        let offset = u32::try_from(out.len()).unwrap();
        let mut common = Vec::new();
        common.extend([20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x50]);
        common.extend(crc.to_le_bytes());
        common.extend(size.to_le_bytes());
        common.extend(size.to_le_bytes());
        common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(bytes);
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&common);
        directory.extend([0; 6]);
        directory.extend((0o100_644_u32 << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (offset, count) =
        (u32::try_from(out.len()).unwrap(), u16::try_from(entries.len()).unwrap());
    let size = u32::try_from(directory.len()).unwrap();
    out.extend(directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(size.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// A tar of plain files in gzip.
fn tar_gz(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, bytes) in entries {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, name.as_bytes());
        put(100, b"0000644\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", bytes.len()).as_bytes());
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, b"0");
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend(header);
        tar.extend(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    gzip.finish().unwrap()
}
