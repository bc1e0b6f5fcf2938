//! `RECORD`: it lists each file of the archive with its digest, and nothing else.

use std::collections::HashMap;
use std::io::{Read, Seek};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::archive::ArchiveError;
use crate::archive::zip::{self, Entry};
use crate::quote::quote;

/// What a line says of its file.
struct Line {
    digest: String,
    size: String,
}

/// Compares `RECORD` with the archive. This reads every entry to its end.
pub(super) fn check(
    file: &mut (impl Read + Seek),
    folder: &str,
    record: &[u8],
    entries: &[Entry],
) -> Result<(), ArchiveError> {
    let refuse = |reason: String| ArchiveError::Record { reason };
    let mut lines = lines(record).map_err(refuse)?;
    let own = format!("{folder}/RECORD");
    // Signatures over RECORD can't be in it.
    let unlisted = [format!("{own}.jws"), format!("{own}.p7s")];
    for entry in entries {
        if entry.folder {
            zip::copy(file, entry, |_| ())?;
            continue;
        }
        let line = lines.remove(&entry.name);
        if entry.name == own {
            line.ok_or_else(|| refuse("it does not list itself".to_owned()))?;
            zip::copy(file, entry, |_| ())?;
            continue;
        }
        match line {
            Some(line) => compare(file, entry, &line)?,
            None if unlisted.contains(&entry.name) => zip::copy(file, entry, |_| ())?,
            None => return Err(refuse(format!("it does not list {}", quote(&entry.name)))),
        }
    }
    match lines.into_keys().min() {
        None => Ok(()),
        Some(name) => Err(refuse(format!("it lists {}, which is not there", quote(&name)))),
    }
}

fn compare(file: &mut (impl Read + Seek), entry: &Entry, line: &Line) -> Result<(), ArchiveError> {
    let shown = quote(&entry.name);
    let refuse = |reason: String| Err(ArchiveError::Record { reason });
    if !line.size.is_empty() && line.size != entry.size.to_string() {
        let said = quote(&line.size);
        return refuse(format!("it says {said} bytes for {shown}, which has {}", entry.size));
    }
    let (algorithm, said) = line.digest.split_once('=').unwrap_or((&line.digest, ""));
    let got = match algorithm {
        "sha256" => digest::<Sha256>(file, entry)?,
        "sha384" => digest::<Sha384>(file, entry)?,
        "sha512" => digest::<Sha512>(file, entry)?,
        "" => return refuse(format!("it has no digest for {shown}")),
        other => {
            let other = quote(other);
            return refuse(format!(
                "it has {other} for {shown}; sha256, sha384 and sha512 are taken"
            ));
        }
    };
    if said.trim_end_matches('=') == got {
        return Ok(());
    }
    refuse(format!("it says {algorithm} {} for {shown}, which has {got}", quote(said)))
}

fn digest<H: Digest>(file: &mut (impl Read + Seek), entry: &Entry) -> Result<String, ArchiveError> {
    let mut hasher = H::new();
    zip::copy(file, entry, |bytes| hasher.update(bytes))?;
    Ok(URL_SAFE_NO_PAD.encode(hasher.finalize()))
}

/// Path → line. The format is CSV of three columns; a path has no line feed.
fn lines(record: &[u8]) -> Result<HashMap<String, Line>, String> {
    let text = std::str::from_utf8(record).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut lines = HashMap::new();
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let columns = columns(line)
            .ok_or_else(|| format!("the line {} is not path,digest,size", quote(line)))?;
        let [path, digest, size] = columns;
        let path_shown = quote(&path);
        if lines.insert(path, Line { digest, size }).is_some() {
            return Err(format!("it lists {path_shown} twice"));
        }
    }
    Ok(lines)
}

fn columns(line: &str) -> Option<[String; 3]> {
    let mut columns = Vec::with_capacity(3);
    let mut rest = line;
    loop {
        let (column, after) = column(rest)?;
        columns.push(column);
        match after {
            Some(after) if columns.len() < 3 => rest = after,
            Some(_) => return None,
            None => break,
        }
    }
    columns.try_into().ok()
}

/// The first column, and what comes behind its comma.
fn column(rest: &str) -> Option<(String, Option<&str>)> {
    let Some(mut quoted) = rest.strip_prefix('"') else {
        return match rest.split_once(',') {
            Some((column, after)) => Some((column.to_owned(), Some(after))),
            None => Some((rest.to_owned(), None)),
        };
    };
    let mut column = String::new();
    loop {
        let (inside, after) = quoted.split_once('"')?;
        column.push_str(inside);
        if let Some(more) = after.strip_prefix('"') {
            column.push('"');
            quoted = more;
        } else if after.is_empty() {
            return Some((column, None));
        } else {
            return after.strip_prefix(',').map(|after| (column, Some(after)));
        }
    }
}
