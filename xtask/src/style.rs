//! House rules no compiler knows, over the files git tracks.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};

use crate::threats;
use crate::workspace::{root, tracked_files};

/// A room larger than this is several rooms.
const LINES: usize = 600;

/// Traces of the machine a change was written on, and of where its packages came from: neither
/// means anything to who clones this. In pieces, so that this file does not find itself.
const TRACES: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("//crates", ".io"),
    concat!("proxy.golang", ".org"),
    concat!("sum.golang", ".org"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("deb.debian", ".org"),
    concat!("repo1.maven", ".org"),
];

/// What `todo!` and `unimplemented!` leave behind: a promise somebody else will believe.
const UNFINISHED: &[&str] = &[concat!("todo", "!("), concat!("unimplemented", "!(")];

/// Prints every breach, then fails if there was one.
pub fn check() -> Result<()> {
    let mut breaches = Vec::new();
    let mut carried = BTreeSet::new();
    for file in tracked_files()? {
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else {
            continue; // not text, or deleted in the work tree
        };
        breaches_in(&file, &text, &mut breaches);
        if is_rust(&file) {
            carried.append(&mut threats::carried(&text));
        }
    }
    for id in threats::missing(&carried) {
        breaches.push(format!("no test carries `threat_{id}`: the attack table has a row open"));
    }
    for breach in &breaches {
        println!("{breach}");
    }
    if !breaches.is_empty() {
        bail!("{} breaches of style", breaches.len());
    }
    Ok(())
}

/// See where it is used; written apart, since this file is looked at too.
const PREDICATE: &str = concat!("docs.pypi", ".org/attestations/publish/v1");

fn is_rust(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "rs")
}

fn breaches_in(file: &Path, text: &str, breaches: &mut Vec<String>) {
    let rust = is_rust(file);
    let lines = text.lines().count();
    if rust && lines > LINES {
        breaches.push(format!("{}: {lines} lines, at most {LINES}", file.display()));
    }
    for (number, line) in text.lines().enumerate() {
        let unfinished = UNFINISHED.iter().filter(|_| rust);
        // The name of a kind of statement (PEP 740), which is an address that nobody asks.
        let line = line.replace(PREDICATE, "");
        for found in TRACES.iter().chain(unfinished).filter(|trace| line.contains(**trace)) {
            breaches.push(format!("{}:{}: has `{found}`", file.display(), number + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(file: &str, text: &str) -> Vec<String> {
        let mut breaches = Vec::new();
        breaches_in(Path::new(file), text, &mut breaches);
        breaches
    }

    #[test]
    fn a_long_file_of_rust_is_a_breach_and_a_long_page_is_not() {
        let text = "\n".repeat(LINES + 1);
        assert_eq!(breaches("a.rs", &text), ["a.rs: 601 lines, at most 600"]);
        assert!(breaches("a.md", &text).is_empty());
        assert!(breaches("a.rs", &"\n".repeat(LINES)).is_empty());
    }

    #[test]
    fn a_trace_of_the_machine_is_named_with_its_line() {
        let text = format!("fine\ncd {}src\n", TRACES[0]);
        assert_eq!(breaches("a.md", &text), [format!("a.md:2: has `{}`", TRACES[0])]);
    }

    #[test]
    fn unfinished_code_is_a_breach_and_a_page_may_speak_of_it() {
        assert_eq!(breaches("a.rs", UNFINISHED[0]).len(), 1);
        assert!(breaches("a.md", UNFINISHED[0]).is_empty());
    }
}
