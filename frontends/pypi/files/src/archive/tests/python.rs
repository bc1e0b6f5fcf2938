//! Python's own readers list the same entries of what is accepted; of what is refused, it is listed
//! what they make of it (`--nocapture`).

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use super::budget::Budget;
use super::tar::{self, Kind};
use super::*;
use crate::archive::hostile;

const SCRIPT: &str = r#"
import io, json, sys, tarfile, zipfile
def wheel(file):
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            archive.read(entry)
        return [[e.filename.rstrip("/"), e.is_dir(), e.file_size] for e in archive.infolist()]
def sdist(file):
    with tarfile.open(fileobj=file, mode="r:gz") as archive:
        kinds = {b"0": "file", b"\0": "file", b"5": "folder", b"1": "hard", b"2": "symbolic"}
        return [[e.name, kinds.get(e.type, "other"), e.linkname, e.size] for e in archive]
def plain(told):
    """Without lone surrogates, which JSON readers refuse."""
    if isinstance(told, str):
        return told.encode("utf-8", "backslashreplace").decode()
    return [plain(part) for part in told] if isinstance(told, list) else told
told = {}
for name, archive in json.load(sys.stdin).items():
    read = wheel if name.startswith("wheel") else sdist
    try:
        told[name] = plain(read(io.BytesIO(bytes.fromhex(archive))))
    except Exception as error:
        told[name] = plain(f"{type(error).__name__}: {error}")
json.dump(told, sys.stdout)
"#;

fn python(archives: &[(String, Vec<u8>)]) -> Map<String, Value> {
    let archives: Map<_, _> = archives
        .iter()
        .map(|(name, bytes)| (name.clone(), const_hex::encode(bytes).into()))
        .collect();
    let mut child = Command::new("python3")
        .args(["-I", "-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut input = child.stdin.take().unwrap();
    input.write_all(Value::Object(archives).to_string().as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn of_zip(bytes: &[u8]) -> Value {
    let size = bytes.len() as u64;
    let mut budget = Budget::new(&Limits::default(), size);
    let entries = zip::entries(&mut Cursor::new(bytes), size, &mut budget).unwrap();
    entries.iter().map(|entry| json!([entry.name, entry.folder, entry.size])).collect()
}

fn of_tar(bytes: &[u8]) -> Value {
    let mut budget = Budget::new(&Limits::default(), bytes.len() as u64);
    let entries = tar::walk(Cursor::new(bytes), &mut budget, |_, _| Ok(())).unwrap();
    let told = entries.iter().map(|entry| {
        let (kind, link) = match &entry.kind {
            Kind::File => ("file", ""),
            Kind::Folder => ("folder", ""),
            Kind::Symbolic(to) => ("symbolic", to.as_str()),
            Kind::Hard(to) => ("hard", to.as_str()),
        };
        json!([entry.name, kind, link, entry.size])
    });
    told.collect()
}

#[test]
fn threat_c9_c11_python_lists_the_same_entries_of_what_is_accepted() {
    let mut archives = Vec::new();
    let mut ours = Map::new();
    for (tool, name, bytes) in hostile::accepted() {
        let entries = if name == WHEEL { of_zip(&bytes) } else { of_tar(&bytes) };
        ours.insert(tool.clone(), entries);
        archives.push((tool, bytes));
    }
    assert_eq!(python(&archives), ours);
}

#[test]
#[allow(clippy::print_stdout, reason = "a list to be looked at")]
fn what_python_makes_of_each_refused_archive_is_listed() {
    let all: Vec<_> = hostile::refused().into_iter().map(|case| (case.what, case.bytes)).collect();
    let told = python(&all);
    assert_eq!(told.len(), all.len(), "two cases have one name, or one got no answer");
    for (name, told) in told {
        println!("{name}: {told}");
    }
}
