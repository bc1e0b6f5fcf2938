//! Any bytes as the form of an upload, in pieces of any length: an answer, and what is told of it can
//! stand in a header.
#![no_main]

use std::convert::Infallible;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use multer::{Constraints, Multipart, SizeLimit};
use strongroom_python::{Attestations, CoreMetadata, FileName, FormFields, agree};

const METADATA: &[u8] = b"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\nRequires-Python: >=3.8\n\
    Requires-Dist: bar>=1; python_version < '4'\n";

fuzz_target!(|input: &[u8]| {
    let Some((pieces, body)) = input.split_first() else { return };
    let pieces = body.chunks(usize::from(*pieces) + 1).map(Bytes::copy_from_slice);
    let pieces: Vec<Result<Bytes, Infallible>> = pieces.map(Ok).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(read(futures::stream::iter(pieces)));
});

async fn read(body: impl futures::Stream<Item = Result<Bytes, Infallible>> + Send + 'static) {
    let sizes = SizeLimit::new().whole_stream(1 << 20);
    let constraints = Constraints::new().size_limit(sizes);
    let mut form = Multipart::with_constraints(body, "b", constraints);
    let mut fields = FormFields::default();
    while let Ok(Some(field)) = form.next_field().await {
        let name = field.name().unwrap_or_default().to_owned();
        let Ok(text) = field.text().await else { return };
        if let Err(error) = fields.add(&name, &text) {
            return plain(&error.to_string());
        }
    }
    let name = FileName::parse("foo-1.0-py3-none-any.whl").unwrap();
    let metadata = CoreMetadata::parse(METADATA).unwrap();
    if let Err(error) = fields.check() {
        plain(&error.to_string());
    }
    if let Err(error) = fields.digests() {
        plain(&error.to_string());
    }
    if let Err(error) = agree(&fields, &name, &metadata) {
        plain(&error.to_string());
    }
    let attested = fields.attestations().map(|json| Attestations::parse(json, &name, &[0; 32]));
    if let Some(Err(error)) = attested {
        plain(&error.to_string());
    }
}

fn plain(text: &str) {
    assert!(!text.contains(['\r', '\n', '\x1b']), "{text:?}");
}
