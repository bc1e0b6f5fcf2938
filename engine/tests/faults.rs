//! Every error at every call: each workflow is run once to count its calls on the stores and on the
//! disk, and then again for each call and each way in which that can fail.
//!
//! What must hold each time: the caller gets a typed error or success, soon; what was to be made is
//! there whole or not at all; what was acknowledged survives, and power loss too; the engine goes
//! on, and the same workflow done again succeeds; once collected, nothing is left and fsck finds
//! nothing.
//!
//! Every case is run, in an order from a seed that is printed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::print_stdout, missing_docs, unreachable_pub)]

#[path = "faults/ground.rs"]
mod ground;
mod support;
#[path = "faults/workflow.rs"]
mod workflow;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use strongroom_engine::Error;
use strongroom_engine::content::fault::{BlobFault, How, When};
use strongroom_engine::disk::sim::{Fault as DiskFault, FaultPlan as DiskPlan};
use strongroom_engine::meta::fault::{Fault as MetaFault, FaultPlan as MetaPlan};

use self::ground::{Ground, Place};
use self::workflow::{Seen, WORKFLOWS, Workflow};

/// Longer than any workflow takes: what lasts so long hangs.
const HANGS: Duration = Duration::from_mins(2);

/// What fails, by the number of the call since the workflow began.
#[derive(Debug, Clone, Copy)]
enum Plan {
    Meta { call: u64, fault: MetaFault },
    Blobs { call: u64, when: When, how: How, lasting: bool },
    Disk { call: u64, fault: DiskFault, lasting: bool },
}

impl Plan {
    fn begin(self, ground: &Ground) {
        match self {
            Self::Meta { call, fault } => {
                let script = [(ground.meta.calls() + call, fault)].into_iter().collect();
                ground.meta.set_plan(MetaPlan::Script(script));
            }
            Self::Blobs { call, when, how, lasting } => {
                let call = ground.blobs.calls() + call;
                ground.blobs.fail(BlobFault { call, when, how, lasting });
            }
            Self::Disk { call, fault, lasting } => {
                let disk = ground.disk();
                disk.fail(DiskPlan { call: disk.calls() + call, fault, lasting });
            }
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(HANGS, future).await.expect("it hangs") })
}

/// How many calls `workflow` makes: on the metadata, on the blobs, on the disk.
fn calls(place: Place, workflow: Workflow) -> (u64, u64, u64) {
    block_on(async {
        let ground = Ground::new(place).await;
        workflow.prepare(&ground).await.unwrap();
        let counts = |ground: &Ground| {
            let disk = if place == Place::Disk { ground.disk().calls() } else { 0 };
            (ground.meta.calls(), ground.blobs.calls(), disk)
        };
        let before = counts(&ground);
        workflow.run(&ground).await.unwrap();
        let after = counts(&ground);
        (after.0 - before.0, after.1 - before.1, after.2 - before.2)
    })
}

/// Runs `workflow` while `plan` fails it, and requires all that must hold.
fn one(place: Place, workflow: Workflow, plan: Plan) {
    block_on(async {
        let ground = Ground::new(place).await;
        workflow.prepare(&ground).await.unwrap();
        plan.begin(&ground);
        let told = workflow.run(&ground).await;
        ground.heal();
        let case = format!("{workflow:?}, {plan:?}, told {told:?}");
        match &told {
            Ok(()) | Err(Error::Unavailable(_) | Error::StorageFull(_)) => {}
            Err(other) => panic!("{case}: {other:?} does not say that a store failed"),
        }
        let seen = workflow.seen(&ground).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        let whole = |seen: &Seen, when: &str| {
            assert_ne!(*seen, Seen::Half, "{case}: half of it shows {when}");
            assert!(told.is_err() || *seen == Seen::Done, "{case}: acknowledged, lost {when}");
        };
        whole(&seen, "at once");

        // Power is lost. What showed stays shown: somebody may have been told of it since.
        let ground = ground.lose_power().await;
        let then = workflow.seen(&ground).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        whole(&then, "after power loss");
        assert!(seen != Seen::Done || then == Seen::Done, "{case}: what showed was lost");

        // The same again.
        match workflow.run(&ground).await {
            Ok(()) => {}
            Err(error) if then == Seen::Done && workflow.is_done_already(&error) => {}
            Err(error) => panic!("{case}: again: {error:?}"),
        }
        assert_eq!(workflow.seen(&ground).await.unwrap(), Seen::Done, "{case}: again");
        ground.kept().await.unwrap_or_else(|error| panic!("{case}: another's was hit: {error}"));
        ground.leaves_nothing().await.unwrap_or_else(|error| panic!("{case}: {error}"));
    });
}

/// As [`one`], but the engine goes on in the same process.
fn one_and_on(place: Place, workflow: Workflow, plan: Plan) {
    block_on(async {
        let ground = Ground::new(place).await;
        workflow.prepare(&ground).await.unwrap();
        plan.begin(&ground);
        let told = workflow.run(&ground).await;
        ground.heal();
        let case = format!("{workflow:?}, {plan:?}, told {told:?}, same process");
        let then = workflow.seen(&ground).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        match workflow.run(&ground).await {
            Ok(()) => {}
            Err(error) if then == Seen::Done && workflow.is_done_already(&error) => {}
            Err(error) => panic!("{case}: again: {error:?}"),
        }
        assert_eq!(workflow.seen(&ground).await.unwrap(), Seen::Done, "{case}: again");
        let ground = ground.lose_power().await;
        assert_eq!(workflow.seen(&ground).await.unwrap(), Seen::Done, "{case}: after power loss");
        ground.leaves_nothing().await.unwrap_or_else(|error| panic!("{case}: {error}"));
    });
}

/// Runs all cases on both cores; says how many.
fn all(place: Place, mut cases: Vec<(Workflow, Plan)>) {
    let (seed, begun) = (support::seed(), Instant::now());
    cases.shuffle(&mut StdRng::seed_from_u64(seed));
    let of = cases.len();
    let queue = Arc::new(std::sync::Mutex::new(cases));
    let next = move || queue.lock().unwrap().pop();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let next = next.clone();
            std::thread::spawn(move || {
                let mut done = 0;
                while let Some((workflow, plan)) = next() {
                    one(place, workflow, plan);
                    one_and_on(place, workflow, plan);
                    done += 1;
                }
                done
            })
        })
        .collect();
    let done: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    println!("STRONGROOM_SEED={seed}: {done} of {of} cases, {:?}", begun.elapsed());
    assert!(done == of && of > WORKFLOWS.len(), "a case was left out");
}

#[test]
fn any_call_on_the_metadata_may_fail() {
    let mut cases = Vec::new();
    for workflow in WORKFLOWS {
        for call in 0..calls(Place::Memory, workflow).0 {
            for fault in [MetaFault::Before, MetaFault::After, MetaFault::Full] {
                cases.push((workflow, Plan::Meta { call, fault }));
            }
        }
    }
    all(Place::Memory, cases);
}

#[test]
fn any_call_on_the_blob_store_may_fail() {
    let mut cases = Vec::new();
    for workflow in WORKFLOWS {
        for call in 0..calls(Place::Memory, workflow).1 {
            for when in [When::Before, When::After] {
                for how in
                    [How::Full, How::Failed { temporary: true }, How::Failed { temporary: false }]
                {
                    for lasting in [false, true] {
                        cases.push((workflow, Plan::Blobs { call, when, how, lasting }));
                    }
                }
            }
        }
    }
    all(Place::Memory, cases);
}

#[test]
fn any_call_on_the_disk_may_fail() {
    let mut cases = Vec::new();
    for workflow in WORKFLOWS {
        for call in 0..calls(Place::Disk, workflow).2 {
            for fault in
                [DiskFault::Full, DiskFault::Broken, DiskFault::Denied, DiskFault::ShortWrite]
            {
                for lasting in [false, true] {
                    cases.push((workflow, Plan::Disk { call, fault, lasting }));
                }
            }
        }
    }
    all(Place::Disk, cases);
}
