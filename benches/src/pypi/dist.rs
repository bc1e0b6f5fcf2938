//! Wheels, and the forms they are uploaded by.

use std::fmt::Write as _;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::http::client::{Client, Reply};

const BOUNDARY: &str = "strongroom-bench";

/// A wheel.
pub(super) struct Wheel {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    project: String,
    version: String,
}

impl Wheel {
    /// Of `project`, with `payload` in one file of it.
    pub(super) fn new(project: &str, version: &str, tags: &str, payload: &[u8]) -> Result<Self> {
        let module = project.replace('-', "_");
        let folder = format!("{module}-{version}.dist-info");
        let metadata = format!(
            "Metadata-Version: 2.1\nName: {project}\nVersion: {version}\nRequires-Python: >=3.8\n"
        );
        let about = format!("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n");
        let mut record = String::new();
        let mut zip = Zip::default();
        for (path, bytes) in [
            (format!("{module}/data"), payload),
            (format!("{folder}/METADATA"), metadata.as_bytes()),
            (format!("{folder}/WHEEL"), about.as_bytes()),
        ] {
            let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
            writeln!(record, "{path},sha256={hash},{}", bytes.len())?;
            zip.add(&path, bytes)?;
        }
        writeln!(record, "{folder}/RECORD,,")?;
        zip.add(&format!("{folder}/RECORD"), record.as_bytes())?;
        let (project, version) = (project.to_owned(), version.to_owned());
        let name = format!("{module}-{version}-{tags}.whl");
        Ok(Self { name, bytes: zip.finish()?, project, version })
    }

    /// The body of its form, as twine sends it.
    pub(super) fn form(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.bytes.len() + 4096);
        let sha256 = const_hex::encode(Sha256::digest(&self.bytes));
        for (field, value) in [
            (":action", "file_upload"),
            ("protocol_version", "1"),
            ("metadata_version", "2.1"),
            ("name", &self.project),
            ("version", &self.version),
            ("filetype", "bdist_wheel"),
            ("pyversion", "py3"),
            ("requires_python", ">=3.8"),
            ("sha256_digest", &sha256),
        ] {
            let head =
                format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n");
            body.extend([head.as_bytes(), value.as_bytes(), b"\r\n"].concat());
        }
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"content\"; \
             filename=\"{}\"\r\nContent-Type: application/octet-stream\r\n\r\n",
            self.name
        );
        body.extend(head.as_bytes());
        body.extend(&self.bytes);
        body.extend(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        body
    }
}

/// Uploads a form.
pub(super) fn upload(client: &mut Client, path: &str, form: &[u8]) -> Result<Reply> {
    let field = format!("Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n");
    client.send("POST", path, &field, form)
}

/// A zip archive of stored entries, being written.
#[derive(Default)]
struct Zip {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

impl Zip {
    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let (crc, size) = (crc32fast::hash(bytes), u32::try_from(bytes.len())?);
        let offset = u32::try_from(self.bytes.len())?;
        // Version, flags, method, time and date.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x50];
        common.extend(crc.to_le_bytes());
        common.extend(size.to_le_bytes());
        common.extend(size.to_le_bytes());
        common.extend(u16::try_from(name.len())?.to_le_bytes());
        common.extend([0, 0]);
        self.bytes.extend([b"PK\x03\x04", &common[..], name.as_bytes(), bytes].concat());
        self.directory.extend([b"PK\x01\x02\x14\x03", &common[..], &[0; 6]].concat());
        self.directory.extend((0o100_644_u32 << 16).to_le_bytes());
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.count += 1;
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>> {
        let Self { mut bytes, directory, count } = self;
        let (offset, size) = (u32::try_from(bytes.len())?, u32::try_from(directory.len())?);
        bytes.extend(directory);
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
        bytes.extend([size.to_le_bytes(), offset.to_le_bytes()].concat());
        bytes.extend([0, 0]);
        Ok(bytes)
    }
}
