//! The verbs of the command line, each once: run in the process that has the data open, whether that
//! is the command line's own or the server's (DESIGN D13).
//!
//! **Promises.** A [`Command`] is parsed where it was typed and carried as JSON to where it runs; its
//! [`Outcome`] is the same either way. What takes long tells how far it is. Dropping a run is as a
//! kill: what was done stays done, and the verb can be given again.
//!
//! **Never.** A secret is in a Debug.

mod accounts;
pub(crate) mod args;
mod audit;
pub(crate) mod backup;
pub(crate) mod maintenance;
mod python;
mod repositories;
mod retention;
pub(crate) mod table;
mod tenants;
mod webhooks;
mod workloads;

use std::fmt;

use clap::Subcommand;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strongroom_engine::gc::{CollectOptions, Extent, Progress, ScrubOptions};
use strongroom_engine::name::OrganisationName;
use tokio::sync::mpsc;

use self::args::{Share, at_least_one};
pub(crate) use accounts::{RobotVerb, TokenVerb, UserVerb};
pub(crate) use args::backup_id;
pub(crate) use audit::AuditVerb;
pub(crate) use backup::BackupVerb;
pub(crate) use maintenance::fsck_outcome;
pub(crate) use python::{Of, PythonVerb, UpstreamVerb, Which, seconds, shown};
pub(crate) use repositories::RepositoryVerb;
pub(crate) use table::size;
pub(crate) use tenants::{OrganisationVerb, RegistryVerb};
pub(crate) use webhooks::WebhookVerb;
pub(crate) use workloads::{AskedRule, WorkloadVerb};

use crate::app::App;
use crate::config::Size;
use crate::failure::Failure;

/// What can be asked of the data.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Command {
    /// Remove what nobody uses, and delete what was given up long enough ago
    ///
    /// Runs while everybody works. Content goes in two runs: one gives it up, one after the delay
    /// deletes it.
    Gc {
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
        /// Delete what nothing names also where the metadata are older than the bucket, as after a
        /// restore; without it that waits for `adopt`
        #[arg(long)]
        despite_restore: bool,
        /// Only in this organisation
        #[arg(long, value_name = "NAME")]
        organisation: Option<OrganisationName>,
        /// Look at about so many rows and objects; the next run goes on there
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
        budget: Option<u64>,
    },
    /// Check every promise the store makes; changes nothing, exits 1 where one does not hold
    Fsck {
        /// Also read all bytes and hash them
        #[arg(long)]
        deep: bool,
    },
    /// Read what is stored and check that it is what was pushed; exits 1 where something is not
    ///
    /// What is rotten answers as absent from then on, so that pushing it again heals it. A run that was
    /// stopped is gone on with by the next one of the same part.
    Scrub {
        /// Only a part, as 1/7: run it each day of the week with another one
        #[arg(long, value_name = "N/OF")]
        subset: Option<Share>,
        /// Only of this organisation
        #[arg(long, value_name = "NAME")]
        organisation: Option<OrganisationName>,
        /// Read about so much in a second, as 50MB
        #[arg(long, value_name = "SIZE")]
        rate: Option<Size>,
        /// Take the store itself to be away once so many objects in a row are missing [default: 64]
        ///
        /// What is missing answers as absent from then on: a disk that is not mounted must not hide
        /// everything.
        #[arg(long, value_name = "NUMBER", value_parser = at_least_one)]
        missing_in_a_row: Option<usize>,
        /// Begin anew, also where an earlier run of the same part was stopped
        #[arg(long)]
        anew: bool,
    },
    /// After older metadata was restored: take up the bytes that it misses and that are there
    Adopt {
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Give room that the metadata no longer needs back to the system
    Compact,
    /// Make backups while everybody works, and look after those that were made
    #[command(subcommand)]
    Backup(BackupVerb),
    /// Look after people: create, list, shut out, delete, set passwords
    #[command(subcommand)]
    User(UserVerb),
    /// Look after machines' accounts
    #[command(subcommand)]
    Robot(RobotVerb),
    /// Make, list and revoke tokens of people and machines
    #[command(subcommand)]
    Token(TokenVerb),
    /// Look after organisations and their members
    #[command(subcommand)]
    Org(OrganisationVerb),
    /// Look after the registries of an organisation
    #[command(subcommand)]
    Registry(RegistryVerb),
    /// Tell addresses of yours what happens in a registry
    #[command(subcommand)]
    Webhook(WebhookVerb),
    /// Let runs of CI in without a stored secret, by rules of a registry
    #[command(subcommand)]
    Workload(WorkloadVerb),
    /// Yank, delete and mark Python packages
    #[command(subcommand)]
    Python(PythonVerb),
    /// List the repositories of a registry, and delete one
    #[command(subcommand)]
    Repository(RepositoryVerb),
    /// Read the audit trail, and verify it
    #[command(subcommand)]
    Audit(AuditVerb),
}

/// A secret on its way between who types it or is shown it and where it is used.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hidden(pub(crate) String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What a verb found or did. It may hold a secret that is shown this once, so it has no Debug.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// For people.
    pub(crate) text: String,
    /// For scripts.
    pub(crate) json: Value,
    /// Whether something is wrong with what was looked at.
    pub(crate) findings: bool,
}

impl Outcome {
    pub(crate) fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, findings: false }
    }
}

/// What a verb tells while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// How far it is.
    Progress {
        /// What it does now.
        phase: String,
        /// How many things it looked at.
        done: u64,
        /// How many bytes it read.
        bytes: u64,
        /// How much of all of it that is, where it is known how much there is.
        #[serde(default)]
        part: Option<Part>,
    },
    /// A line of its output.
    Line(String),
}

/// How much of something is done: so much of about so much, in whatever it is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) done: u64,
    pub(crate) total: u64,
}

impl From<Extent> for Part {
    fn from(Extent { done, total }: Extent) -> Self {
        Self { done, total }
    }
}

/// How much may be told before somebody listens.
const UNHEARD: usize = 64;

/// Where a verb tells.
#[derive(Debug)]
struct Teller(mpsc::Sender<Told>);

impl Teller {
    /// Tells how far it is, unless nobody keeps up.
    fn progress(&self, progress: &Progress) {
        // The next one tells more.
        let Progress { phase, done, bytes, extent } = *progress;
        let (phase, part) = (phase.to_owned(), extent.map(Part::from));
        let _unheard = self.0.try_send(Told::Progress { phase, done, bytes, part });
    }

    /// Writes a line; waits until it is taken.
    async fn line(&self, line: String) {
        // Nobody takes it where the run is dropped, too.
        let _dropped = self.0.send(Told::Line(line)).await;
    }
}

/// A verb that runs. Dropping it ends it.
pub(crate) struct Run {
    told: mpsc::Receiver<Told>,
    work: BoxFuture<'static, Result<Outcome, Failure>>,
    done: Option<Result<Outcome, Failure>>,
}

/// What comes of a verb next.
pub(crate) enum Step {
    Told(Told),
    Done(Result<Outcome, Failure>),
}

impl Run {
    /// Starts a verb, which goes on as long as somebody asks for the next.
    pub(crate) fn start(app: App, command: Command) -> Self {
        let (sender, told) = mpsc::channel(UNHEARD);
        let work = async move { dispatch(&app, command, &Teller(sender)).await };
        Self { told, work: work.boxed(), done: None }
    }

    /// What it tells, in order, and then how it ended. Not to be called after that.
    pub(crate) async fn next(&mut self) -> Step {
        if self.done.is_none() {
            tokio::select! {
                biased;
                Some(told) = self.told.recv() => return Step::Told(told),
                done = &mut self.work => self.done = Some(done),
            }
        }
        match (self.told.try_recv(), self.done.take()) {
            (Ok(told), done) => {
                self.done = done;
                Step::Told(told)
            }
            (Err(_), Some(done)) => Step::Done(done),
            (Err(_), None) => Step::Done(Err(Failure::failed("this verb has ended"))),
        }
    }
}

async fn dispatch(app: &App, command: Command, teller: &Teller) -> Result<Outcome, Failure> {
    match command {
        Command::Gc { dry_run, despite_restore, organisation, budget } => {
            let mut options = CollectOptions::everything();
            options.dry_run = dry_run;
            options.despite_restore = despite_restore;
            options.organisation = organisation;
            options.budget = budget;
            maintenance::gc(app, &options, teller).await
        }
        Command::Fsck { deep } => maintenance::fsck(app, deep, teller).await,
        Command::Scrub { subset, organisation, rate, missing_in_a_row, anew } => {
            let mut options = ScrubOptions::default();
            options.subset = subset.map(|share| share.0);
            options.organisation = organisation;
            options.bytes_per_second = rate.map(Size::bytes);
            options.missing_in_a_row = missing_in_a_row;
            options.anew = anew;
            maintenance::scrub(app, &options, teller).await
        }
        Command::Adopt { dry_run } => maintenance::adopt(app, dry_run, teller).await,
        Command::Compact => maintenance::compact(app).await,
        Command::Backup(verb) => backup::backup(app, verb, teller).await,
        Command::User(verb) => accounts::user(app, verb).await,
        Command::Robot(verb) => accounts::robot(app, verb).await,
        Command::Token(verb) => accounts::token(app, verb).await,
        Command::Org(verb) => tenants::organisation(app, verb).await,
        Command::Registry(verb) => tenants::registry(app, verb).await,
        Command::Webhook(verb) => webhooks::webhook(app, verb).await,
        Command::Workload(verb) => workloads::workload(app, verb).await,
        Command::Python(verb) => python::python(app, verb).await,
        Command::Repository(verb) => repositories::repository(app, verb).await,
        Command::Audit(verb) => audit::audit(app, verb, teller).await,
    }
}
