//! Random histories against a reference made of maps and sets: after each step everything that
//! can be read is compared, and fsck finds nothing at the end.
//!
//! A failure prints its seed and the shortest history that still fails; `STRONGROOM_SEED=…` runs
//! that one again. `STRONGROOM_LONG=1` runs more histories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::print_stdout, missing_docs, unreachable_pub)]

#[path = "model/compare.rs"]
mod compare;
#[path = "model/drive.rs"]
mod drive;
#[path = "model/manage.rs"]
mod manage;
#[path = "model/ops.rs"]
mod ops;
#[path = "model/pool.rs"]
mod pool;
#[path = "model/reference.rs"]
mod reference;
mod support;
#[path = "model/tenants.rs"]
mod tenants;

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use self::compare::compare;
use self::drive::World;
use self::ops::{At, Collecting, Op};
use self::reference::{DELAY, HOUR, Model, Told};

/// Two days and more: past every lease and every upload's rest.
const PAST_ALL: u64 = 50 * HOUR;

/// One way in which a step may have gone: the reference behind it, and what was told of each
/// operation in it, where that can be said.
type Way = (Model, Vec<Option<Told>>);

/// Applies `ops` in order, each told as it is.
fn in_order(model: &Model, ops: &[&Op], swapped: bool) -> Way {
    let mut model = model.clone();
    let mut told: Vec<_> = ops.iter().map(|op| Some(model.apply(op))).collect();
    if swapped {
        told.reverse();
    }
    (model, told)
}

/// Where operations ran beside each other: one of them may have found the upload busy or moved on,
/// or the quota taken by what the other only reserved.
fn stumbling(model: &Model, one: &Op, other: &Op) -> Vec<Way> {
    let mut ways = Vec::new();
    for (first, second, swapped) in [(one, other, false), (other, one, true)] {
        if let Some((repo, _)) =
            leaves(model, first).filter(|(repo, _)| model.repos[*repo].is_none())
        {
            // It makes the repository first, and the rest of it may come after the other.
            let mut made = model.clone();
            made.repo(repo);
            ways.push(in_order(&made, &[second, first], !swapped));
        }
        let mut behind = model.clone();
        let told = Some(behind.apply(first));
        let mut told_of = |model: Model, second: Option<Told>| {
            let mut both = vec![told.clone(), second];
            if swapped {
                both.reverse();
            }
            ways.push((model, both));
        };
        if slot_of(one).is_some() && slot_of(one) == slot_of(other) {
            told_of(behind.clone(), None);
        }
        if model.quota.iter().any(Option::is_some) {
            behind.starved = true;
            let second = behind.apply(second);
            behind.starved = false;
            told_of(behind, Some(second));
        }
    }
    ways
}

/// What a collection beside `op` may have done: taken what it could, or some of it, before or
/// after.
fn collecting(model: &Model, op: &Op) -> Vec<Way> {
    let collect = Op::Collect(Collecting::Whole);
    let mut ways =
        vec![in_order(model, &[op, &collect], false), in_order(model, &[&collect, op], true)];
    let mut perhaps = model.clone();
    perhaps.collect(true);
    if matches!(op, Op::PushManifest { .. }) {
        // It may have found some of what it names already gone.
        ways.push((perhaps.clone(), vec![None, Some(Told::Done)]));
    }
    let told = perhaps.apply(op);
    perhaps.collect(true);
    ways.push((perhaps, vec![Some(told), Some(Told::Done)]));
    ways
}

fn slot_of(op: &Op) -> Option<usize> {
    match op {
        Op::Append { slot, .. } | Op::Finish { slot, .. } | Op::Cancel { slot } => Some(*slot),
        _ => None,
    }
}

/// Which repository an operation makes where there is none yet, and what it may leave reserved.
fn leaves(model: &Model, op: &Op) -> Option<(usize, u64)> {
    match op {
        Op::PushBlob { repo, thing, .. } => Some((*repo, model.things[*thing].size() + (64 << 20))),
        Op::PushManifest { repo, thing, .. } if !model.things[*thing].inline() => {
            Some((*repo, model.things[*thing].size()))
        }
        Op::Start { repo, .. } => Some((*repo, 0)),
        _ => None,
    }
}

/// What an append may have reserved that was given up before its bytes were durable: all, or where
/// the quota is tight, piece by piece.
fn half_appended(model: &Model, done: &Model, op: &Op) -> Vec<Way> {
    let Op::Append { slot, pieces, .. } = op else { return vec![] };
    let (Some(before), Some(after)) = (model.sessions.get(slot), done.sessions.get(slot)) else {
        return vec![];
    };
    let (mut reserved, mut end) = (vec![after.ahead, after.reserved], before.offset);
    for piece in reference::cut(after.offset - before.offset, *pieces) {
        end += piece;
        reserved.push(end);
    }
    let half = |reserved| {
        let mut half = done.clone();
        let session = reference::Session { offset: before.offset, reserved, ..after.clone() };
        half.sessions.insert(*slot, session);
        (half, vec![])
    };
    reserved.into_iter().map(half).collect()
}

/// How a step may have gone that was given up before it told anything.
fn given_up(model: &Model, op: &Op) -> Vec<Way> {
    let mut ways = vec![(model.clone(), vec![])];
    if let Some((repo, leaked)) = leaves(model, op) {
        let mut half = model.clone();
        half.repo(repo);
        half.leaked[repo / 2] += leaked;
        ways.push((half, vec![]));
    }
    match op {
        Op::Collect(_) => ways.last_mut().unwrap().0.collect(true),
        Op::Start { .. } => {}
        op => {
            let mut done = model.clone();
            done.apply(op);
            ways.extend(half_appended(model, &done, op));
            if let Some((repo, leaked)) = leaves(model, op) {
                done.leaked[repo / 2] += leaked;
            }
            ways.push((done, vec![]));
        }
    }
    ways
}

fn fits(told: &[Told], way: &[Option<Told>]) -> bool {
    way.is_empty()
        || told.iter().zip(way).all(|(told, wanted)| match (told, wanted) {
            (told, Some(wanted)) => told == wanted,
            // What can't be said beforehand is still one of few things.
            (Told::Busy | Told::OutOfOrder(_) | Told::Offset(_) | Told::UploadUnknown, None) => {
                true
            }
            (Told::Missing(missing), None) => !missing.is_empty(),
            _ => false,
        })
}

struct History {
    world: World,
    model: Model,
    /// The latest that the clock ever showed.
    latest: u64,
}

impl History {
    async fn new(seed: u64, disk: bool) -> Self {
        let things = Arc::new(pool::things());
        let world = World::new(things.clone(), seed, disk).await;
        let model = Model::new(things, support::BEGIN.0);
        Self { world, model, latest: support::BEGIN.0 }
    }

    /// Does one step and compares.
    async fn step(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Restart(seed) => {
                self.world.restart(*seed).await;
                self.settle(vec![], vec![(self.model.clone(), vec![])]).await
            }
            // Which of two would have the slot, nobody could say.
            Op::Both(one, other) if matches!((&**one, &**other), (Op::Start { slot, .. }, Op::Start { slot: same, .. }) if slot == same) =>
            {
                Box::pin(self.step(one)).await?;
                Box::pin(self.step(other)).await
            }
            // What a collection beside a request takes of tags, nobody could say either.
            Op::Both(one, other)
                if **other == Op::Collect(Collecting::Whole) && self.model.has_rules() =>
            {
                Box::pin(self.step(one)).await?;
                Box::pin(self.step(other)).await
            }
            Op::GivenUp(op, _)
                if **op == Op::Collect(Collecting::Whole) && self.model.has_rules() =>
            {
                Box::pin(self.step(op)).await
            }
            Op::Both(one, other) => {
                let (mut one, mut other) = (*one.clone(), *other.clone());
                if slot_of(&one).is_some() && slot_of(&one) == slot_of(&other) {
                    // Where both append without saying where, both are right.
                    one = said(one);
                    other = said(other);
                }
                let (first, second) = tokio::join!(self.world.act(&one), self.world.act(&other));
                let mut ways = if other == Op::Collect(Collecting::Whole) {
                    collecting(&self.model, &one)
                } else {
                    vec![
                        in_order(&self.model, &[&one, &other], false),
                        in_order(&self.model, &[&other, &one], true),
                    ]
                };
                ways.extend(stumbling(&self.model, &one, &other));
                self.settle(vec![first, second], ways).await?;
                self.renew(&one).await?;
                self.renew(&other).await
            }
            Op::GivenUp(op, pauses) => {
                let tasks = World::tasks();
                let pause = async {
                    for _ in 0..*pauses {
                        tokio::task::yield_now().await;
                    }
                };
                let told = tokio::select! {
                    biased;
                    told = self.world.act(op) => Some(told),
                    () = pause => None,
                };
                World::calm(tasks).await;
                if let Some(told) = told {
                    let ways = vec![in_order(&self.model, &[op], false)];
                    return self.settle(vec![told], ways).await;
                }
                self.settle(vec![], given_up(&self.model, op)).await?;
                // A client tries again; and what only moved a lease is then known.
                match **op {
                    Op::PushBlob { .. } | Op::Mount { .. } | Op::Head { .. } => {
                        let told = self.world.act(op).await;
                        self.settle(vec![told], vec![in_order(&self.model, &[op], false)]).await
                    }
                    ref op => self.renew(op).await,
                }
            }
            op => {
                let told = self.world.act(op).await;
                self.settle(vec![told], vec![in_order(&self.model, &[op], false)]).await
            }
        }
    }

    /// Appends nothing to the upload of `op`, so that it is known until when it may rest.
    async fn renew(&mut self, op: &Op) -> Result<(), String> {
        let Some(slot) = slot_of(op) else { return Ok(()) };
        let (at, length, pieces) = (At::Right, 0, 1);
        let (elsewhere, known, broken) = (false, true, false);
        let op = Op::Append { slot, elsewhere, at, length, known, pieces, broken };
        let told = self.world.act(&op).await;
        self.settle(vec![told], vec![in_order(&self.model, &[&op], false)]).await
    }

    /// Finds the way that things went.
    async fn settle(&mut self, told: Vec<Told>, ways: Vec<Way>) -> Result<(), String> {
        let mut differences = Vec::new();
        for (mut model, way) in ways {
            if !fits(&told, &way) {
                differences.push(format!("told {told:?}, should be {way:?}"));
                continue;
            }
            match compare(&self.world, &mut model).await {
                Ok(()) => {
                    self.latest = self.latest.max(model.now);
                    self.model = model;
                    return Ok(());
                }
                Err(difference) => differences.push(difference),
            }
        }
        differences.dedup();
        Err(differences.join("\n    or "))
    }

    /// Lets all time pass that may be waited for, and requires that nothing is left over.
    async fn end(mut self) -> Result<(), String> {
        self.sound().await?;
        let past_all = self.latest - self.model.now + PAST_ALL;
        // The second lets go of what the first marked, and the third of what was in doubt.
        for by in [past_all, DELAY + 1, DELAY + 1] {
            self.step(&Op::Jump(by.cast_signed())).await?;
            self.step(&Op::Collect(Collecting::Whole)).await?;
        }
        self.model.drained();
        compare(&self.world, &mut self.model)
            .await
            .map_err(|said| format!("at the end: {said}"))?;
        self.sound().await?;
        for at in 0..2 {
            let (admin, name) = (support::caller(drive::ADMINS[at]), drive::ORGANISATIONS[at]);
            let verified =
                self.world.engine().verify_trail(&admin, Some(&name.parse().unwrap())).await;
            let verified = verified.map_err(|error| format!("the trail of {name}: {error}"))?;
            if !verified.is_good() {
                return Err(format!("the trail of {name} does not verify: {verified:?}"));
            }
        }
        let objects = support::gc::objects(&*self.world.blobs()).await;
        let held: usize = self.model.stored.iter().map(std::collections::BTreeSet::len).sum();
        let held = held + (0..2).map(|organisation| self.model.copies(organisation)).sum::<usize>();
        if objects.len() != held {
            return Err(format!(
                "{} objects are left, {held} are held: {objects:?}",
                objects.len()
            ));
        }
        Ok(())
    }

    async fn sound(&self) -> Result<(), String> {
        let found = support::gc::fsck(self.world.engine()).await.map_err(|e| e.to_string())?;
        if found.is_empty() { Ok(()) } else { Err(format!("fsck: {found:?}")) }
    }
}

fn said(op: Op) -> Op {
    match op {
        Op::Append { slot, elsewhere, at: At::Unsaid, length, known, pieces, broken } => {
            Op::Append { slot, elsewhere, at: At::Right, length, known, pieces, broken }
        }
        op => op,
    }
}

/// Runs one history; fails with the step at which it went wrong.
fn run(seed: u64, disk: bool, history: &[Op]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let mut state = History::new(seed, disk).await;
        for (number, op) in history.iter().enumerate() {
            let done = state.step(op).await;
            done.map_err(|difference| format!("step {number}, {op:?}:\n    {difference}"))?;
        }
        state.end().await
    });
    result.map_err(TestCaseError::fail)
}

/// Draws a history from `seed` and runs it; panics with the shortest one that fails.
fn one(seed: u64, disk: bool, steps: usize) {
    let things = pool::things().len();
    let strategy = prop::collection::vec(ops::op(things), 1..steps);
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let chance = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, chance);
    match runner.run(&strategy, |history| run(seed, disk, &history)) {
        Ok(()) => {}
        Err(TestError::Fail(reason, history)) => {
            let steps: Vec<_> =
                history.iter().enumerate().map(|(n, op)| format!("  {n}: {op:?}")).collect();
            panic!(
                "STRONGROOM_SEED={seed} fails; the shortest history found:\n{}\n{reason}",
                steps.join("\n")
            );
        }
        Err(TestError::Abort(reason)) => panic!("STRONGROOM_SEED={seed}: {reason}"),
    }
}

/// Runs histories until the time is over, at least `least` and in a long run `most`.
fn many(disk: bool, steps: usize, within: Duration, least: u64, most: u64) {
    if let Some(seed) = support::replayed() {
        return one(seed, disk, steps);
    }
    let (first, begun) = (support::seed(), Instant::now());
    println!("from STRONGROOM_SEED={first}");
    let mut done = 0;
    while done < least || (done < most && (support::long() || begun.elapsed() < within)) {
        one(first + done, disk, steps);
        done += 1;
    }
    println!("{done} histories of up to {steps} steps, {:?}", begun.elapsed());
}

#[test]
fn what_can_be_read_is_what_the_reference_says() {
    many(false, 60, Duration::from_secs(40), 20, 5_000);
}

#[test]
fn power_loss_takes_back_nothing_that_the_reference_was_told() {
    many(true, 40, Duration::from_secs(30), 5, 1_000);
}
