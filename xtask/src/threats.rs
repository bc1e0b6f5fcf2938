//! Every row of the attack table has a test that carries its id: `threat_b4_…`, or `threat_b1_b6_…`
//! where one test closes several.

use std::collections::BTreeSet;

/// The rows that a registry over this engine has to hold against: tokens and sign-ins (A), whose
/// something is (B), parsers, limits, transport and leaks (C), what stores do to it (S). One that is added here needs
/// a test.
const IDS: &[&str] = &[
    "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "a10", "a11", //
    "a12", "a13", "a14", "a15", "a16", "a17", //
    "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b9", "b11", "b12", "b13", "b14", //
    "b16", "b17", //
    "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12", "c13", //
    "c16", "c17", "c18", "c19", "c20", "c21", "c22", "c23", "c24", "c25", "c26", "c27",
    "c28", //
    "s13", "s14", "s15", "s16", "s17", "s18", "s34", "s35", "s36",
];

/// What begins the name of such a test.
const PREFIX: &str = "fn threat_";

/// The ids that the tests in a file carry.
pub fn carried(text: &str) -> BTreeSet<String> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let mut ids = BTreeSet::new();
    for (at, line) in lines.iter().enumerate() {
        let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix(PREFIX);
        // What nothing runs closes no row.
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        if let Some(name) = name
            && above.into_iter().any(|line| line.contains("test]") || line.contains("test("))
        {
            ids.extend(name.split('_').take_while(|word| is_id(word)).map(str::to_owned));
        }
    }
    ids
}

fn is_id(word: &str) -> bool {
    let mut letters = word.chars();
    matches!(letters.next(), Some('a'..='z'))
        && !letters.as_str().is_empty()
        && letters.all(|letter| letter.is_ascii_digit())
}

/// The rows that no test carries.
pub fn missing(carried: &BTreeSet<String>) -> Vec<&'static str> {
    IDS.iter().copied().filter(|id| !carried.contains(*id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<String> {
        carried(&text.replace("FN", PREFIX)).into_iter().collect()
    }

    #[test]
    fn a_test_carries_all_the_ids_its_name_begins_with() {
        assert_eq!(ids("#[test]\nFNb1_b6_what_is_a1()"), ["b1", "b6"]);
        assert_eq!(ids("  #[tokio::test(start_paused = true)]\n  async FNa15_x()"), ["a15"]);
        assert_eq!(ids("#[test]\n#[ignore]\nFNc2_x()"), ["c2"]);
    }

    #[test]
    fn what_nothing_runs_carries_none() {
        assert!(ids("FNb1_x()").is_empty());
        assert!(ids("#[test]\nfn other() {}\nFNb1_x()").is_empty());
        assert!(ids("#[cfg(any())]\nFNb1_x()").is_empty());
    }

    #[test]
    fn a_row_without_a_test_is_missing() {
        let mut all: BTreeSet<_> = IDS.iter().map(|id| (*id).to_owned()).collect();
        assert!(missing(&all).is_empty());
        all.remove("b4");
        assert_eq!(missing(&all), ["b4"]);
    }
}
