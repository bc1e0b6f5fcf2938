//! Any order of uploads, yanks and deletes, by this API and by OCI, gives the pages that a plain model
//! gives.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode as S;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use strongroom_engine::Error;
use strongroom_engine::access::Action;
use strongroom_pypi::manage::{Files, Manager};
use support::dist::{Dist, sdist, wheel};
use support::{World, known, place, project};

const MAIN: &str = "acme/main";
const VERSIONS: [&str; 3] = ["1.0", "1.0+cpu", "2.0rc1"];

#[derive(Debug, Clone)]
enum Step {
    /// A version, whether it is a wheel, and which bytes.
    Upload(usize, bool, bool),
    Yank(usize, bool),
    Unyank(usize),
    Delete(usize, bool),
    DeleteVersion(usize),
    UntagByOci(usize),
    DeleteIndexByOci(usize),
    /// In the documented form: a version that has this file alone.
    PushByOci(usize, bool, bool),
    /// The manifest of a file, which its version names.
    DeleteFileByOci(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let version = 0..VERSIONS.len();
    prop_oneof![
        6 => (version.clone(), any::<bool>(), any::<bool>()).prop_map(|(v, w, s)| Step::Upload(v, w, s)),
        1 => (version.clone(), any::<bool>()).prop_map(|(v, w)| Step::Yank(v, w)),
        1 => version.clone().prop_map(Step::Unyank),
        2 => (version.clone(), any::<bool>()).prop_map(|(v, w)| Step::Delete(v, w)),
        1 => version.clone().prop_map(Step::DeleteVersion),
        1 => version.clone().prop_map(Step::UntagByOci),
        1 => version.clone().prop_map(Step::DeleteIndexByOci),
        2 => (version.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(v, w, s)| Step::PushByOci(v, w, s)),
        1 => version.prop_map(Step::DeleteFileByOci),
    ]
}

fn dist(version: usize, is_wheel: bool, salt: bool) -> Dist {
    let (version, salt) = (VERSIONS[version], if salt { "one" } else { "two" });
    if is_wheel { wheel("foo", version, salt) } else { sdist("foo", version, salt) }
}

/// A name with the sha256 of its bytes.
type File = (String, String);

/// What is there, yanks, and the names of deleted files with the bytes that they stand for. By OCI other
/// bytes can be put under such a name: they are there, and not offered.
#[derive(Debug, Default)]
struct Model {
    files: BTreeMap<usize, BTreeSet<File>>,
    yanked: BTreeSet<String>,
    deleted: BTreeMap<String, String>,
}

impl Model {
    fn upload(&mut self, version: usize, dist: &Dist) -> S {
        let sha256 = dist.sha256();
        if self.deleted.get(&dist.name).is_some_and(|deleted| *deleted != sha256) {
            return S::BAD_REQUEST;
        }
        if self.offered(version).any(|(name, old)| *name == dist.name && *old != sha256) {
            return S::BAD_REQUEST;
        }
        self.files.entry(version).or_default().insert((dist.name.clone(), sha256));
        S::OK
    }

    /// The files of a version that are offered.
    fn offered(&self, version: usize) -> impl Iterator<Item = &File> {
        let files = self.files.get(&version).into_iter().flatten();
        files.filter(|(name, sha256)| self.deleted.get(name).is_none_or(|first| first == sha256))
    }

    /// Deletes by this API, which keeps the names.
    fn delete(&mut self, version: usize, only: Option<&str>) -> bool {
        let Some(files) = self.files.get_mut(&version) else { return false };
        let before = files.len();
        for (name, sha256) in files.clone() {
            if only.is_none_or(|only| only == name) {
                self.yanked.remove(&name);
                files.remove(&(name.clone(), sha256.clone()));
                self.deleted.entry(name).or_insert(sha256);
            }
        }
        let gone = files.len() < before;
        if files.is_empty() {
            self.files.remove(&version);
        }
        gone
    }

    fn shown(&self) -> BTreeMap<String, (String, bool)> {
        let files = self.files.keys().flat_map(|version| self.offered(*version));
        let shown =
            |(name, sha256): &File| (name.clone(), (sha256.clone(), self.yanked.contains(name)));
        files.map(shown).collect()
    }
}

async fn check(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let world = World::new().await;
    let manager = Manager::new(&world.engine);
    let (writer, place, sample) = (known("writer"), place(MAIN), project("foo"));
    let of = (&place, &sample);
    let mut model = Model::default();
    for step in &steps {
        match *step {
            Step::Upload(version, is_wheel, salt) => {
                let dist = dist(version, is_wheel, salt);
                let expected = model.upload(version, &dist);
                let answer = world.upload(MAIN, &dist).await;
                prop_assert_eq!(answer.status, expected, "{:?}: {:?}", step, answer);
            }
            Step::Yank(version, is_wheel) => {
                let name = dist(version, is_wheel, true).name;
                let known = model.offered(version).any(|file| file.0 == name);
                let done = manager.yank(&writer, of, &Files::Name(name.clone()), "").await;
                prop_assert_eq!(done.is_ok(), known, "{:?}: {:?}", step, done);
                model.yanked.extend(known.then_some(name));
            }
            Step::Unyank(version) => {
                let which = Files::Version(VERSIONS[version].parse().unwrap());
                let done = manager.unyank(&writer, of, &which).await;
                let names: Vec<_> = model.offered(version).map(|file| file.0.clone()).collect();
                prop_assert_eq!(done.is_ok(), !names.is_empty(), "{:?}", step);
                model.yanked.retain(|yanked| !names.contains(yanked));
            }
            Step::Delete(version, is_wheel) => {
                let name = dist(version, is_wheel, true).name;
                let expected = model.delete(version, Some(&name));
                let done = manager.delete(&writer, of, &Files::Name(name)).await;
                prop_assert_eq!(done.is_ok(), expected, "{:?}: {:?}", step, done);
            }
            Step::DeleteVersion(version) => {
                let expected = model.delete(version, None);
                let which = Files::Version(VERSIONS[version].parse().unwrap());
                let done = manager.delete(&writer, of, &which).await;
                prop_assert_eq!(done.is_ok(), expected, "{:?}: {:?}", step, done);
            }
            Step::UntagByOci(version) | Step::DeleteIndexByOci(version) => {
                let known = model.files.remove(&version).is_some();
                let repository = world.open("acme/main/foo", Action::Delete).await;
                let tag = VERSIONS[version].replace('+', "_");
                let done = if matches!(step, Step::UntagByOci(_)) {
                    repository.delete_tag(&tag.parse().unwrap()).await
                } else {
                    let pull = world.open("acme/main/foo", Action::Pull).await;
                    match pull.stat_manifest(&tag.parse().unwrap()).await {
                        Ok(index) => repository.delete_manifest(&index.digest).await,
                        Err(error) => Err(error),
                    }
                };
                prop_assert_eq!(done.is_ok(), known, "{:?}: {:?}", step, done);
            }
            Step::PushByOci(version, is_wheel, salt) => {
                let dist = dist(version, is_wheel, salt);
                let tag = VERSIONS[version].replace('+', "_");
                world.push_by_oci("acme/main/foo", &dist.name, &dist.bytes, &tag).await;
                model.files.insert(version, BTreeSet::from([(dist.name.clone(), dist.sha256())]));
            }
            Step::DeleteFileByOci(version) => {
                let pull = world.open("acme/main/foo", Action::Pull).await;
                let tag = VERSIONS[version].replace('+', "_");
                let index = pull.stat_manifest(&tag.parse().unwrap()).await;
                prop_assert_eq!(index.is_ok(), model.files.contains_key(&version), "{:?}", step);
                if let Ok(index) = index {
                    let index: serde_json::Value = serde_json::from_slice(&index.bytes).unwrap();
                    let file = index["manifests"][0]["digest"].as_str().unwrap().parse().unwrap();
                    let repository = world.open("acme/main/foo", Action::Delete).await;
                    let done = repository.delete_manifest(&file).await;
                    prop_assert!(
                        matches!(done, Err(Error::InUse { .. })),
                        "{:?}: {:?}",
                        step,
                        done
                    );
                }
            }
        }
        let page = world.page(MAIN, "foo").await;
        let files = page.as_ref().map(|page| page["files"].as_array().unwrap().clone());
        let shown: BTreeMap<_, _> = files
            .unwrap_or_default()
            .iter()
            .map(|file| {
                let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
                let yanked = file["yanked"] != false;
                (text(&file["filename"]), (text(&file["hashes"]["sha256"]), yanked))
            })
            .collect();
        prop_assert_eq!(shown, model.shown(), "after {:?} of {:?}", step, steps);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn pages_are_what_the_model_says(steps in proptest::collection::vec(step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(steps))?;
    }
}
