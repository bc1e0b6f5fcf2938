//! Each archive and each form that lies, uploaded to the service: what it is told, to the letter, and
//! that nothing of any of them is left in either store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use http::StatusCode as S;
use strongroom_pypi::Settings;
use strongroom_python::hostile::{self, Hostile};
use support::dist::{Dist, foo, wheel};
use support::{Answer, World};

const MAIN: &str = "acme/main";

/// What is wrong with how something was refused: all of the reason stands in the body, and as much as
/// goes there in the status line.
fn wrong(what: &str, answer: &Answer, reason: &str) -> Option<String> {
    let line: String = reason.chars().take(512).collect();
    let right = answer.status == S::BAD_REQUEST
        && answer.text() == format!("{reason}\n")
        && answer.reason.as_deref() == Some(&*line);
    let got = (answer.status.as_u16(), answer.text(), answer.reason.as_deref());
    (!right).then(|| format!("{what}:\n  got    {got:?}\n  wanted {reason:?}"))
}

#[track_caller]
fn none_wrong(wrong: impl IntoIterator<Item = Option<String>>) {
    let wrong: Vec<_> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn all_refused(world: &World, archives: Vec<Hostile>) {
    let mut told = Vec::new();
    for Hostile { what, name, bytes, reason } in archives {
        let reason = if bytes.is_empty() { "the file is empty" } else { &*reason };
        told.push(wrong(&what, &world.upload(MAIN, &foo(name, bytes)).await, reason));
    }
    none_wrong(told);
}

/// Runs `attack` against a registry that has something in it, and compares what is left.
async fn leaves_nothing(change: impl Fn(&mut Settings), attack: impl AsyncFn(&World)) {
    // Small files wait in memory; so that the other way is walked too, no file is small.
    for in_memory_bytes in [Settings::default().in_memory_bytes, 0] {
        let world = World::with(|settings| {
            settings.in_memory_bytes = in_memory_bytes;
            change(settings);
        })
        .await;
        world.upload(MAIN, &wheel("kept", "1.0", "one")).await.expect(S::OK);
        world.collect().await;
        let before = world.state().await;
        attack(&world).await;
        // Cancelling goes on behind the answers.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        world.collect().await;
        let after = world.state().await;
        assert_eq!(after.1, before.1, "objects are left");
        let left = |key: &&Vec<u8>| after.0.get(*key) != before.0.get(*key);
        let left: Vec<_> = after.0.keys().chain(before.0.keys()).filter(left).collect();
        let left: Vec<_> = left.iter().map(|key| key.escape_ascii().to_string()).collect();
        assert!(left.is_empty(), "rows are left or changed: {left:#?}");
        assert_eq!(world.files(MAIN, "kept").await.len(), 1);
    }
}

#[tokio::test]
async fn threat_c9_c10_c11_each_archive_that_lies_is_refused_and_leaves_nothing() {
    let archives = hostile::refused();
    assert!(archives.len() >= 60, "only {}", archives.len());
    leaves_nothing(|_| (), async |world| all_refused(world, archives.clone()).await).await;
}

#[tokio::test]
async fn what_the_usual_tools_make_is_taken() {
    for (what, name, bytes) in hostile::accepted() {
        let world = World::new().await;
        let answer = world.upload(MAIN, &foo(name, bytes)).await;
        assert_eq!(answer.status, S::OK, "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn threat_c12_each_bomb_is_refused_and_leaves_nothing() {
    let bounds = |settings: &mut Settings| settings.archive = hostile::BOMB_LIMITS;
    leaves_nothing(bounds, async |world| all_refused(world, hostile::bombs()).await).await;
}

/// A field's other value, or its absence, and what is told.
const FORMS: &[(&str, Option<&str>, &str)] = &[
    (":action", Some("submit"), "the form's :action is \"submit\"; it has to be file_upload"),
    (":action", None, "the form has no :action"),
    ("protocol_version", Some("2"), "the form's protocol_version is \"2\"; it has to be 1"),
    ("protocol_version", None, "the form has no protocol_version"),
    ("name", Some("bar"), "the form's name is \"bar\", but the file's name is of foo"),
    (
        "name",
        Some("-foo"),
        "the form's name \"-foo\" is not valid: \"-foo\" is not a project name: it consists of ASCII letters, digits, '.', '-' and '_', and begins and ends with a letter or digit",
    ),
    (
        "name",
        Some("foo\r\nX: y"),
        "the form's name \"foo\\r\\nX: y\" is not valid: \"foo\\r\\nX: y\" is not a project name: it consists of ASCII letters, digits, '.', '-' and '_', and begins and ends with a letter or digit",
    ),
    ("name", None, "the form has no name"),
    ("version", Some("2.0"), "the form's version is \"2.0\", but the file's name is of 1.0"),
    (
        "version",
        Some("x"),
        "the form's version \"x\" is not valid: \"x\" is not a version of PEP 440, such as 1.0, 2.0rc1 or 1.0.post1",
    ),
    ("version", None, "the form has no version"),
    ("metadata_version", None, "the form has no metadata_version"),
    (
        "filetype",
        Some("sdist"),
        "the form's filetype is \"sdist\", but the file \"foo-1.0-py3-none-any.whl\" is bdist_wheel",
    ),
    (
        "filetype",
        Some("bdist_egg"),
        "the form's filetype is \"bdist_egg\"; it has to be bdist_wheel or sdist",
    ),
    ("filetype", None, "the form has no filetype"),
    (
        "pyversion",
        Some("source"),
        "the form's pyversion is \"source\", but the file \"foo-1.0-py3-none-any.whl\" is for a Python version",
    ),
    (
        "sha256_digest",
        None,
        "the form has none of sha256_digest, blake2_256_digest and md5_digest; one is needed",
    ),
    ("sha256_digest", Some("00"), "sha256_digest is \"00\"; it has to be 64 digits of hex"),
    (
        "md5_digest",
        Some("zz"),
        "md5_digest is \"zz\"; it has to be 32 digits of hex, or 22 characters of URL-safe base64 without padding",
    ),
    (
        "requires_python",
        Some(">=2"),
        "the form's requires_python says \">=2\", which the metadata in the file do not",
    ),
    (
        "requires_python",
        Some("three"),
        "the form's requires_python \"three\" is not valid: Failed to parse version: Unexpected end of version specifier, expected operator:",
    ),
    (
        "requires_dist",
        Some("evil"),
        "the form's requires_dist says \"evil\", which the metadata in the file do not",
    ),
    (
        "provides_extra",
        Some("evil"),
        "the form's provides_extra says \"evil\", which the metadata in the file do not",
    ),
    (
        "attestations",
        Some("{"),
        "the attestations are not a JSON array of attestation objects: invalid type: map, expected a sequence at line 1 column 0",
    ),
    (
        "attestations",
        Some("[]"),
        "the attestations are an empty list; leave the field out where there are none",
    ),
];

/// A file's other name, and what is told.
const NAMES: &[(&str, &str)] = &[
    ("", "the file name is empty"),
    (
        "foo-1.0-py3-none-any.exe",
        "the file name \"foo-1.0-py3-none-any.exe\" ends with neither .whl nor .tar.gz",
    ),
    ("foo-1.0.zip", "the file name \"foo-1.0.zip\" ends with neither .whl nor .tar.gz"),
    (
        "../foo-1.0-py3-none-any.whl",
        "the file name \"../foo-1.0-py3-none-any.whl\" has the character /: a file name has printable ASCII, without spaces, '/' and '\\'",
    ),
    (
        "foo-1.0-any.whl",
        "the wheel's name \"foo-1.0-any.whl\" has 3 parts between dashes; it has to be project-version[-build]-python-abi-platform.whl",
    ),
    (
        "foo-1.0-py3-none-plan9.whl",
        "in the wheel's name \"foo-1.0-py3-none-plan9.whl\" the platform tag \"plan9\" is not a known one",
    ),
    (
        "foo-1.1-py3-none-any.whl",
        "the archive has the folder \"foo-1.0.dist-info\"; it has to be \"foo-1.1.dist-info\", and the only one of its kind",
    ),
    (
        "bar-1.0-py3-none-any.whl",
        "the archive has the folder \"foo-1.0.dist-info\"; it has to be \"bar-1.0.dist-info\", and the only one of its kind",
    ),
    (
        "foo-1.0-py3-none-any-x.whl",
        "in the wheel's name \"foo-1.0-py3-none-any-x.whl\" the build tag \"py3\" does not begin with a digit",
    ),
    (
        "foo-1.0.tar.gz",
        "the sdist is no tar.gz archive that every unpacker reads the same way: its gzip stream is damaged or cut off",
    ),
];

#[tokio::test]
async fn threat_b11_c10_each_form_that_lies_is_refused_and_leaves_nothing() {
    let attack = async |world: &World| {
        let mut all = Vec::new();
        for file_first in [false, true] {
            let good = || Dist { file_first, ..wheel("foo", "1.0", "one") };
            for (field, value, reason) in FORMS {
                let answer = world.upload(MAIN, &good().with(field, *value)).await;
                all.push(wrong(&format!("{field} {value:?}"), &answer, reason));
            }
            for (name, reason) in NAMES {
                let dist = Dist { name: (*name).to_owned(), ..good() };
                all.push(wrong(name, &world.upload(MAIN, &dist).await, reason));
            }
        }
        none_wrong(all);
    };
    leaves_nothing(|_| (), attack).await;
}
