//! Any bytes as an sdist, and as the tar in one: an answer, the same one twice, and within bounds.
#![no_main]

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;
use strongroom_fuzz::is_archive;

const NAME: &str = "foo-1.0.tar.gz";

fuzz_target!(|input: &[u8]| {
    is_archive(NAME, input);
    let mut packed = GzEncoder::new(Vec::new(), Compression::none());
    packed.write_all(input).unwrap();
    is_archive(NAME, &packed.finish().unwrap());
});
