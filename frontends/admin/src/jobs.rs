//! Collections and scrubs that somebody started: each has an id, tells how far it is, and can be
//! stopped. They are this process's: another node, and the process after a restart, knows nothing of
//! them, since nothing of a walk needs to be known to begin it again.
//!
//! **Promises.** One of each kind runs at a time. Its start is in the trail before it begins.
//! Dropping [`Jobs`] ends them all, as a kill would: what they did stays done.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use strongroom_engine::access::Caller;
use strongroom_engine::audit::{Event, EventKind, SYSTEM};
use strongroom_engine::extension::{Batch, Extension};
use strongroom_engine::gc::{
    CollectOptions, CollectReport, Progress, ScrubOptions, ScrubReport, Tally,
};
use strongroom_engine::{Engine, Error, Page};
use tokio::task::AbortHandle;

use crate::model::{Job, JobKind, JobPart, JobState, NewJob, Time};
use crate::problem::{Kind, Problem};

/// How many jobs are remembered.
const REMEMBERED: usize = 100;

#[derive(Debug)]
struct Entry {
    job: Job,
    task: Option<AbortHandle>,
}

/// The jobs of this process.
#[derive(Debug, Default)]
pub(crate) struct Jobs(Arc<Mutex<VecDeque<Entry>>>);

impl Drop for Jobs {
    fn drop(&mut self) {
        for entry in lock(&self.0).iter() {
            if let Some(task) = &entry.task {
                task.abort();
            }
        }
    }
}

/// Nothing that holds the lock can panic between two states.
fn lock(jobs: &Mutex<VecDeque<Entry>>) -> MutexGuard<'_, VecDeque<Entry>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

fn change(jobs: &Mutex<VecDeque<Entry>>, id: &str, with: impl FnOnce(&mut Job)) {
    if let Some(entry) = lock(jobs).iter_mut().find(|entry| entry.job.id == id) {
        with(&mut entry.job);
    }
}

impl Jobs {
    /// Starts a job, which has `id`.
    pub(crate) async fn start(
        &self,
        engine: &Engine,
        records: &Extension,
        by: &Caller,
        id: String,
        new: NewJob,
    ) -> Result<Job, Problem> {
        if new.kind == JobKind::Scrub && new.dry_run {
            return Err(Problem::field("/dry_run", "a scrub changes nothing that is not rotten"));
        }
        if new.kind == JobKind::Collection && new.bytes_per_second.is_some() {
            return Err(Problem::field("/bytes_per_second", "a collection reads no content"));
        }
        if let Some(organisation) = &new.organisation {
            let known = engine.organisation(by, organisation).await;
            known.map_err(|error| Problem::field("/organisation", error.to_string()))?;
        }
        let at = records.now().await?;
        let job = Job {
            id: id.clone(),
            kind: new.kind,
            state: JobState::Running,
            started_at: Time(at),
            phase: None,
            done: 0,
            bytes: 0,
            part: None,
            report: None,
            error: None,
        };
        self.place(job.clone())?;
        let what = match new.kind {
            JobKind::Collection => format!("collection {id} started"),
            JobKind::Scrub => format!("scrub {id} started"),
        };
        let kind = EventKind::Maintained { what, objects: 0, bytes: 0 };
        if let Err(error) =
            records.commit(Batch::new().event(Event::by(by, SYSTEM, at, kind))).await
        {
            lock(&self.0).retain(|entry| entry.job.id != id);
            return Err(error.into());
        }
        let (jobs, engine) = (Arc::clone(&self.0), engine.clone());
        let named = id.clone();
        let task = tokio::spawn(async move {
            let ended = run(&jobs, &engine, &named, new).await;
            change(&jobs, &named, |job| match ended {
                Ok(report) => (job.state, job.report) = (JobState::Done, Some(report)),
                Err(error) => {
                    (job.state, job.error) = (JobState::Failed, Some(error.to_string()));
                }
            });
        });
        if let Some(entry) = lock(&self.0).iter_mut().find(|entry| entry.job.id == id) {
            entry.task = Some(task.abort_handle());
        }
        Ok(job)
    }

    /// Makes room for a job, where none of its kind runs.
    fn place(&self, job: Job) -> Result<(), Problem> {
        let mut jobs = lock(&self.0);
        let running = jobs
            .iter()
            .find(|entry| entry.job.kind == job.kind && entry.job.state == JobState::Running);
        if let Some(running) = running {
            let detail = format!("job {} does this already; follow it, or stop it", running.job.id);
            return Err(Problem::new(Kind::UnderWay, detail));
        }
        jobs.push_front(Entry { job, task: None });
        if jobs.len() > REMEMBERED {
            // One of each kind runs, and what runs was started last.
            jobs.truncate(REMEMBERED);
        }
        Ok(())
    }

    /// One job.
    pub(crate) fn get(&self, id: &str) -> Result<Job, Problem> {
        let jobs = lock(&self.0);
        let found = jobs.iter().find(|entry| entry.job.id == id);
        found.map(|entry| entry.job.clone()).ok_or_else(|| unknown(id))
    }

    /// The jobs behind `after`, the newest first.
    pub(crate) fn list(&self, after: Option<&str>, limit: usize) -> Page<Job> {
        let jobs = lock(&self.0);
        let all = jobs.iter().map(|entry| entry.job.clone());
        let mut items: Vec<_> = match after {
            Some(after) => all.skip_while(|job| job.id != after).skip(1).take(limit + 1).collect(),
            None => all.take(limit + 1).collect(),
        };
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|job| job.id.clone());
        Page { items, next }
    }

    /// Stops a job. What has ended stays as it ended.
    pub(crate) async fn stop(
        &self,
        records: &Extension,
        by: &Caller,
        id: &str,
    ) -> Result<(), Problem> {
        self.get(id)?;
        let at = records.now().await?;
        let what = format!("job {id} stopped");
        let kind = EventKind::Maintained { what, objects: 0, bytes: 0 };
        records.commit(Batch::new().event(Event::by(by, SYSTEM, at, kind))).await?;
        let mut jobs = lock(&self.0);
        let entry = jobs.iter_mut().find(|entry| entry.job.id == id);
        if let Some(entry) = entry.filter(|entry| entry.job.state == JobState::Running) {
            entry.job.state = JobState::Stopped;
            if let Some(task) = entry.task.take() {
                task.abort();
            }
        }
        Ok(())
    }
}

fn unknown(id: &str) -> Problem {
    let id: String = id.chars().take(64).collect();
    Problem::new(Kind::NotFound, format!("there is no job {id} of this process"))
}

async fn run(
    jobs: &Mutex<VecDeque<Entry>>,
    engine: &Engine,
    id: &str,
    new: NewJob,
) -> Result<Value, Error> {
    let watch = |progress: &Progress| {
        change(jobs, id, |job| {
            job.phase = Some(progress.phase.to_owned());
            (job.done, job.bytes) = (progress.done, progress.bytes);
            job.part = progress.extent.map(JobPart::from);
        });
    };
    match new.kind {
        JobKind::Collection => {
            let mut options = CollectOptions::everything();
            (options.dry_run, options.organisation) = (new.dry_run, new.organisation);
            Ok(collected(&engine.collect(&options, &watch).await?))
        }
        JobKind::Scrub => {
            let mut options = ScrubOptions::default();
            options.organisation = new.organisation;
            options.bytes_per_second = new.bytes_per_second;
            Ok(scrubbed(&engine.scrub(&options, &watch).await?))
        }
    }
}

fn tally(of: Tally) -> Value {
    json!({ "count": of.count, "bytes": of.bytes })
}

fn collected(report: &CollectReport) -> Value {
    json!({
        "refused": report.refused,
        "looked_at": report.looked_at,
        "links": tally(report.links),
        "given_up": tally(report.given_up),
        "deleted": tally(report.deleted),
        "settled": tally(report.settled),
        "copied": tally(report.copied),
        "uncopied": tally(report.uncopied),
        "uploads": tally(report.uploads),
        "orphans": tally(report.orphans),
        "pinned": tally(report.pinned),
        "foreign": tally(report.foreign),
        "tenant_rows": report.tenant_rows,
        "tenant_objects": tally(report.tenant_objects),
        "unreadable": report.unreadable,
        "failed": report.failed,
    })
}

fn scrubbed(report: &ScrubReport) -> Value {
    let rotten = report.rotten.iter().map(|rotten| {
        json!({
            "organisation": rotten.organisation,
            "digest": rotten.digest,
            "what": rotten.what,
            "quarantined": rotten.quarantined,
        })
    });
    json!({
        "good": tally(report.good),
        "wrong": report.wrong,
        "rotten": rotten.collect::<Vec<_>>(),
        "quarantined": tally(report.quarantined),
        "unread": tally(report.unread),
    })
}
