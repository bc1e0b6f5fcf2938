//! `strongroom`: the registry as one program.
//!
//! What happens where: [`cli`] is what can be asked; [`config`] the settings; [`data`] the folder;
//! [`app`] what is opened over it; [`storage`] the stores beneath; [`vouching`] who else vouches for whom; [`serve`] the server, with [`router`] and
//! [`operator`] before its paths and [`tasks`] behind it; [`signups`] hears of who signed up, in it or alone; [`ops`] the verbs, which [`control`] carries to a server that runs;
//! [`remote`] does them at a server elsewhere; [`carry`] the verbs that make an installation elsewhere. [`failure`] has the exit codes.

#![forbid(unsafe_code)]

mod app;
mod bootstrap;
mod carry;
mod cli;
mod config;
mod console;
mod control;
mod data;
mod failure;
mod operator;
mod ops;
mod password;
mod remote;
mod router;
mod serve;
mod signups;
mod storage;
mod tasks;
mod verbs;
mod vouching;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use strongroom_http::auth::Secret;
use strongroom_http::log::{self, Format, Log};

use crate::cli::{Cli, ConfigVerb, Verb};
use crate::config::{BOOTSTRAP_PASSWORD, Config, Flags, LogFormat};
use crate::failure::Failure;
use crate::remote::{Asked, Reach};

/// The system's keeps what argon2 and many uploads once took; this one gives it back by a thread of
/// its own, within a tenth of a second (`.cargo/config.toml` says so to its build). At once would cost a
/// push a third of its speed; within a second, many uploads held a tenth more.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(failure) => {
            console::complain(&format!("strongroom: {failure}"));
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let listen = match &cli.verb {
        Verb::Serve { listen } => *listen,
        Verb::Ask(_)
        | Verb::Worker
        | Verb::Login { .. }
        | Verb::Logout
        | Verb::Migrate
        | Verb::Restore(_)
        | Verb::CopyStorage(_)
        | Verb::Config(_)
        | Verb::Completions { .. } => None,
    };
    // Not clap's to say: it looks for `--server` on the same side of the verb only.
    if cli.global.ask_password && cli.global.server.is_none() {
        return Err(Failure::usage(
            "--ask-password signs in at a server: say where with --server https://HOST",
        ));
    }
    if let Some(server) = &cli.global.server {
        let reach = Reach { server: server.clone(), ask_password: cli.global.ask_password };
        return elsewhere(&reach, cli.verb, cli.global.json);
    }
    let flags = Flags { config: cli.global.config, data: cli.global.data, listen };
    match cli.verb {
        Verb::Serve { .. } => {
            let config = load(&flags)?;
            let _log = start_log(&config)?;
            runtime()?.block_on(serve::serve(&config, bootstrap_password()?))?;
        }
        Verb::Worker => {
            let config = load(&flags)?;
            let _log = start_log(&config)?;
            runtime()?.block_on(signups::alone(&config))?;
        }
        Verb::Ask(command) => {
            let config = load(&flags)?;
            // What a verb has to say is its outcome; the log is for what goes wrong beside it.
            let _log = log::init(Format::Human, "warn")
                .map_err(|error| Failure::failed(error.to_string()))?;
            return runtime()?.block_on(verbs::run(&config, command, cli.global.json));
        }
        Verb::Login { .. } | Verb::Logout => {
            return Err(Failure::usage("say where with --server https://HOST"));
        }
        Verb::Restore(restore) => {
            let config = load(&flags)?;
            let _log = log::init(Format::Human, "warn")
                .map_err(|error| Failure::failed(error.to_string()))?;
            return runtime()?.block_on(carry::restore(&config, restore, cli.global.json));
        }
        Verb::CopyStorage(copy) => {
            let config = load(&flags)?;
            let target = match (&copy.to, &copy.to_config) {
                (_, Some(file)) => load(&Flags { config: Some(file.clone()), ..Flags::default() })?,
                (to, None) => Config { data: to.clone().unwrap_or_default(), ..config.clone() },
            };
            let _log = log::init(Format::Human, "warn")
                .map_err(|error| Failure::failed(error.to_string()))?;
            return runtime()?.block_on(carry::copy_storage(&config, &target, cli.global.json));
        }
        Verb::Migrate => {
            let config = load(&flags)?;
            let steps = runtime()?.block_on(storage::migrate(&config))?;
            console::say(&match steps {
                None => "the facts lie in the data folder, which needs no migration\n".to_owned(),
                Some(0) => "the database is as this program needs it\n".to_owned(),
                Some(steps) => format!("the database is migrated, in {steps} steps\n"),
            })?;
        }
        Verb::Config(ConfigVerb::Check) => {
            let config = load(&flags)?;
            console::say(&if cli.global.json {
                format!("{}\n", config.to_json())
            } else {
                config.to_toml()
            })?;
        }
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "strongroom", &mut script);
            console::say(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Does a verb at a server elsewhere.
fn elsewhere(reach: &Reach, verb: Verb, json: bool) -> Result<ExitCode, Failure> {
    let asked = match verb {
        Verb::Login { username } => Asked::Login { username },
        Verb::Logout => Asked::Logout,
        Verb::Ask(mut command) => {
            if reach.ask_password && verbs::reads_password(&command) {
                let why = "two passwords can't come from one standard input: let one be generated";
                return Err(Failure::usage(why));
            }
            verbs::read_password(&mut command)?;
            Asked::Verb(command)
        }
        Verb::Serve { .. }
        | Verb::Worker
        | Verb::Migrate
        | Verb::Restore(_)
        | Verb::CopyStorage(_)
        | Verb::Config(_)
        | Verb::Completions { .. } => {
            return Err(Failure::usage("this verb is about this machine: leave --server out"));
        }
    };
    let _log =
        log::init(Format::Human, "warn").map_err(|error| Failure::failed(error.to_string()))?;
    runtime()?.block_on(remote::run(reach, asked, json))
}

fn load(flags: &Flags) -> Result<Config, Failure> {
    // What is no text can be none of ours.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    config::load(flags, environment)
}

/// The first administrator's password, where somebody chose it. An empty one is none.
fn bootstrap_password() -> Result<Option<Secret>, Failure> {
    let Some(chosen) = std::env::var_os(BOOTSTRAP_PASSWORD) else { return Ok(None) };
    let text = chosen.into_string();
    let text = text.map_err(|_| Failure::usage(format!("{BOOTSTRAP_PASSWORD} is not UTF-8")))?;
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}

fn start_log(config: &Config) -> Result<Log, Failure> {
    let format = match config.log.format {
        LogFormat::Human => Format::Human,
        LogFormat::Json => Format::Json,
    };
    log::init(format, &config.log.filter).map_err(|error| Failure::usage(error.to_string()))
}

/// The fewest threads there may be for work that blocks: enough to wait for a disk with …
const BLOCKING_THREADS: usize = 64;
/// … and how many there may be for each processor.
const BLOCKING_THREADS_EACH: usize = 8;

/// The threads that all of it runs on. Where processors are busy, tokio would start another for nearly each piece of
/// work that blocks, up to 512, and each keeps some memory: 64 uploads had 300 to 500. What finds none waits for
/// one, which is safe since no such work waits for other such work.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS.max(processors * BLOCKING_THREADS_EACH))
        .enable_all()
        .build();
    runtime.map_err(|error| Failure::failed(format!("no runtime: {error}")))
}
