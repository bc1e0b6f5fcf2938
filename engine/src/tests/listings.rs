//! Lists against a model, for names that are the beginnings of each other (THREATS C27).

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::catalog::City;
use super::support::{World, image};
use crate::access::Action;
use crate::name::Tag;

/// How many sets of names are tried: all that are wanted, or what fits a usual run.
fn sets(long: usize, usual: usize) -> usize {
    if std::env::var_os("STRONGROOM_LONG").is_some() { long } else { usual }
}

/// A short name of `parts`, so that many begin with each other; the bytes that join are below,
/// between and above letters and digits.
fn name(chance: &mut StdRng, parts: &[&str], joints: &[&str]) -> String {
    let mut pick = |of: &[&str]| of[chance.random_range(0..of.len())].to_owned();
    let mut name = pick(parts);
    while pick(&["go on", "end"]) == "go on" {
        name += &pick(joints);
        name += &pick(parts);
    }
    name.chars().take(40).collect()
}

fn names(chance: &mut StdRng, most: usize, joints: &[&str]) -> BTreeSet<String> {
    let count = chance.random_range(0..=most);
    let joined = (0..count).map(|_| name(chance, &["a", "b", "a0", "aa"], joints));
    // Where the last part was cut off, what joined it is left.
    joined.map(|name| name.trim_end_matches(['.', '-', '_', '/']).to_owned()).collect()
}

#[tokio::test]
async fn threat_c27_the_catalog_lists_what_the_model_says_whatever_the_names() {
    let mut chance = StdRng::seed_from_u64(27);
    for set in 0..sets(100_000, 1_000) {
        let organisations = names(&mut chance, 4, &["-", "", "--"]);
        let registries: Vec<(String, BTreeSet<String>)> = names(&mut chance, 4, &["-", "", "--"])
            .into_iter()
            .map(|registry| (registry, names(&mut chance, 6, &["-", "/", ".", "_", "__", ""])))
            .collect();
        let mut expected = BTreeSet::new();
        for organisation in &organisations {
            for (registry, repositories) in &registries {
                let below = |name| format!("{organisation}/{registry}/{name}");
                expected.extend(repositories.iter().map(below));
            }
        }
        let organisations: Vec<_> = organisations.iter().map(String::as_str).collect();
        let repositories: Vec<Vec<&str>> = registries
            .iter()
            .map(|(_, names)| names.iter().map(String::as_str).collect())
            .collect();
        let registries: Vec<(&str, &[&str])> = registries
            .iter()
            .zip(&repositories)
            .map(|((name, _), repositories)| (name.as_str(), repositories.as_slice()))
            .collect();
        let city = City::new(&organisations, &registries).await;
        let limit = chance.random_range(1..12);
        let (found, _) = city.list(limit).await;
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "set {set}, pages of {limit}");
    }
}

#[tokio::test]
async fn threat_c27_tags_are_listed_as_the_model_says_whatever_their_names() {
    let world = World::new().await;
    let layer = world.push_blob("api", b"layer").await;
    let config = world.push_blob("api", b"{}").await;
    let manifest = image(&config, 2, &layer, 5);
    world.push_manifest("api", &manifest, &[]).await.unwrap();
    let deleting = world.open("api", Action::Delete).await.unwrap();
    let listing = world.open("api", Action::List).await.unwrap();
    let mut chance = StdRng::seed_from_u64(28);
    let joints = ["-", ".", "_", "", "--", "A", "Z"];
    let mut model = BTreeSet::new();
    // Each step makes another set of it: one name comes or goes.
    for step in 0..sets(100_000, 1_000) {
        let tag = name(&mut chance, &["a", "b", "a0", "0", "_"], &joints);
        let parsed: Tag = tag.parse().unwrap();
        if model.remove(&tag) {
            deleting.delete_tag(&parsed).await.unwrap();
        } else {
            world.push_manifest("api", &manifest, &[&tag]).await.unwrap();
            model.insert(tag);
        }
        // One page from anywhere, also from what is not there, and now and then all of them.
        let after = name(&mut chance, &["", "a", "b", "a0", "0", "_"], &joints);
        let limit = chance.random_range(1..20);
        let page = listing.tags(Some(&after), limit).await.unwrap();
        let listed: Vec<_> = page.items.iter().map(Tag::to_string).collect();
        let behind = || model.iter().filter(|tag| **tag > after);
        let expected: Vec<_> = behind().take(limit).cloned().collect();
        assert_eq!(listed, expected, "step {step}: {limit} after {after:?}");
        let more = behind().nth(limit).is_some();
        assert_eq!(page.next, listed.last().filter(|_| more).cloned(), "step {step}");
        if step % 50 == 0 {
            let (mut all, mut next) = (Vec::new(), None);
            loop {
                let page = listing.tags(next.as_deref(), limit).await.unwrap();
                all.extend(page.items.iter().map(Tag::to_string));
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
            assert!(all.iter().eq(&model), "step {step}: {all:?}");
        }
    }
}
