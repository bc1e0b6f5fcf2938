//! `WHEEL`: its version, and that its tags are those of the file's name.

use std::collections::BTreeSet;

use crate::archive::ArchiveError;
use crate::file_name::WheelTags;
use crate::metadata::headers;
use crate::quote::quote;

pub(super) fn check(bytes: &[u8], name: &WheelTags) -> Result<(), ArchiveError> {
    let refuse = |reason: String| Err(ArchiveError::Wheel { reason });
    let (fields, _) = match headers::split(bytes) {
        Ok(found) => found,
        Err(error) => return refuse(error.to_string()),
    };
    let all = |wanted: &str| {
        let of_name = fields.iter().filter(|field| field.name == wanted);
        of_name.map(|field| field.value.as_str()).collect::<Vec<_>>()
    };
    match all("wheel-version").as_slice() {
        [version] if version.starts_with("1.") => {}
        [version] => return refuse(format!("Wheel-Version is {}; known is 1", quote(version))),
        _ => return refuse("there is not one Wheel-Version".to_owned()),
    }
    match all("root-is-purelib").as_slice() {
        [value] if ["true", "false"].contains(&value.to_ascii_lowercase().as_str()) => {}
        _ => return refuse("there is not one Root-Is-Purelib of true or false".to_owned()),
    }
    match all("build").as_slice() {
        [] => {}
        [build] if Some(*build) == name.build.as_deref() => {}
        [build, ..] => {
            return refuse(format!("Build is {}, but not in the file's name", quote(build)));
        }
    }
    let mut inside = BTreeSet::new();
    for tag in all("tag") {
        match expand(tag) {
            Some(single) => inside.extend(single),
            None => return refuse(format!("the tag {} is not python-abi-platform", quote(tag))),
        }
    }
    let outside: BTreeSet<String> = name.expanded().into_iter().collect();
    if inside == outside {
        return Ok(());
    }
    if let Some(tag) = inside.difference(&outside).next() {
        return refuse(format!("it has the tag {}, the file's name has not", quote(tag)));
    }
    let tag = outside.difference(&inside).next().map(String::as_str).unwrap_or_default();
    refuse(format!("it lacks the tag {} of the file's name", quote(tag)))
}

/// Some tools write sets of tags, as in a file's name.
fn expand(tag: &str) -> Option<Vec<String>> {
    /// More than a file's name has room for.
    const MAX_TAG: usize = 255;
    let parts: Vec<&str> = tag.split('-').collect();
    let [python, abi, platform] = *parts.as_slice() else { return None };
    let set = |text: &str| text.split('.').map(str::to_owned).collect();
    let tags =
        WheelTags { build: None, python: set(python), abi: set(abi), platform: set(platform) };
    (tag.len() <= MAX_TAG).then(|| tags.expanded())
}
