//! The stages of `cargo xtask test`: what each checks, their order, and the table at the end.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::workspace::{cargo, integration_tests, root};
use crate::{clients, conformance, deploy, fuzz, registry, run, style, tools};

/// Arguments of `cargo xtask test`.
#[derive(Args)]
pub struct TestArgs {
    /// Run the full counts in the suites, not those that fit a usual run
    #[arg(long)]
    long: bool,
    /// Run only these stages
    #[arg(long, num_args = 1.., value_name = "STAGE")]
    only: Vec<String>,
    /// Print the stages and what each checks
    #[arg(long)]
    list: bool,
}

struct Stage {
    name: &'static str,
    about: &'static str,
    check: fn(&TestArgs) -> Result<()>,
}

/// In the order they run: what answers fastest comes first.
const STAGES: &[Stage] = &[
    Stage { name: "style", about: "house rules no compiler knows", check: |_| style::check() },
    Stage { name: "fmt", about: "formatting", check: |_| fmt() },
    Stage {
        name: "deny",
        about: "licences, banned crates and sources of dependencies",
        check: |_| deny(),
    },
    Stage {
        name: "deploy",
        about: "the unit of systemd and the container file",
        check: |_| deploy::check(),
    },
    Stage { name: "clippy", about: "lints, warnings are errors", check: |_| clippy() },
    Stage { name: "docs", about: "rustdoc, warnings are errors", check: |_| docs() },
    Stage {
        name: "unit",
        about: "all tests of the workspace but those of other stages, those in documentation too",
        check: |_| unit(),
    },
    Stage {
        name: "suites",
        about: "the engine's slow suites, optimised (crash, model, …)",
        check: suites,
    },
    Stage {
        name: "stores",
        about: "the stores that need a server, each on real ones of its own",
        check: |_| stores(),
    },
    Stage {
        name: "decoders",
        about: "our reading of manifests against that of clients written in Go",
        check: |_| decoders(),
    },
    Stage {
        name: "fuzz",
        about: "each fuzz target over its corpus and some seconds more",
        check: |args| fuzz::check(args.long),
    },
    Stage {
        name: "clients",
        about: "oras, docker, helm, cosign, people of a pool and a resumed upload against the built server",
        check: |_| clients::all(),
    },
    Stage {
        name: "conformance",
        about: "the conformance suite of the distribution spec, stable and dev",
        check: |_| conformance::all(),
    },
];

/// Runs the stages asked for, all of them whatever fails, and prints a table.
pub fn test(args: &TestArgs) -> Result<()> {
    if args.list {
        for stage in STAGES {
            println!("{:12} {}", stage.name, stage.about);
        }
        return Ok(());
    }
    let results: Vec<_> = chosen(args)?.into_iter().map(|stage| time(stage, args)).collect();
    summarise(&results)
}

fn chosen(args: &TestArgs) -> Result<Vec<&'static Stage>> {
    for name in &args.only {
        if !STAGES.iter().any(|stage| stage.name == name) {
            bail!("there is no stage `{name}`; `cargo xtask test --list` names them");
        }
    }
    let wanted = |stage: &&Stage| args.only.is_empty() || args.only.iter().any(|n| n == stage.name);
    Ok(STAGES.iter().filter(wanted).collect())
}

struct Outcome {
    name: &'static str,
    took: Duration,
    result: Result<()>,
}

fn time(stage: &Stage, args: &TestArgs) -> Outcome {
    println!("\n=== {}: {}", stage.name, stage.about);
    let start = Instant::now();
    let result = (stage.check)(args);
    let took = start.elapsed();
    if let Err(error) = &result {
        println!("--- {} failed: {error:#}", stage.name);
    }
    println!("=== {}: {:.1} s", stage.name, took.as_secs_f64());
    Outcome { name: stage.name, took, result }
}

fn summarise(results: &[Outcome]) -> Result<()> {
    println!("\n=== summary");
    for outcome in results {
        let verdict = if outcome.result.is_ok() { "passed" } else { "FAILED" };
        println!("{:12} {verdict:8} {:8.1} s", outcome.name, outcome.took.as_secs_f64());
    }
    let failed = results.iter().filter(|outcome| outcome.result.is_err()).count();
    println!("{} passed, {failed} failed", results.len() - failed);
    // Once more and last: of a long output often only the end is kept.
    for outcome in results {
        if let Err(error) = &outcome.result {
            println!("--- {} failed: {error:#}", outcome.name);
        }
    }
    if failed > 0 {
        bail!("{failed} of {} stages failed", results.len());
    }
    Ok(())
}

fn fmt() -> Result<()> {
    run::show(cargo().args(["fmt", "--all", "--check"]))?;
    // A workspace of its own.
    run::show(cargo().args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))
}

fn clippy() -> Result<()> {
    run::show(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn docs() -> Result<()> {
    run::show(
        cargo()
            .args(["doc", "--no-deps", "--workspace", "--all-features"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// Advisories are not checked here: their database is a git repository, not a package, and this
/// gate has to pass on machines that reach package registries only.
fn deny() -> Result<()> {
    let deny = tools::cargo_deny()?;
    run::show(Command::new(deny).current_dir(root()).args([
        "--workspace",
        "--all-features",
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]))
}

/// Integration tests that only make sense optimised, at length and alone: they count processes,
/// disk and time.
const SUITES: &[&str] = &["crash", "model", "soak", "faults"];

/// Integration tests that start servers of their own; those get their places by the environment.
const STORES: &[&str] =
    &["postgres", "s3_suite", "s3_hosts", "s3_uploads", "s3_faults", "s3_matrix"];

/// The integration test that needs a Go compiler.
const DECODERS: &str = "decoders";

/// All tests but those that have a stage of their own.
fn unit() -> Result<()> {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--examples"]);
    for name in integration_tests()? {
        let own = [SUITES, STORES, &[DECODERS]].concat().contains(&name.as_str());
        if !own {
            command.args(["--test", &name]);
        }
    }
    let tests = run::show(&mut command);
    // What the documentation shows is also run.
    let documentation = run::show(cargo().args(["test", "--workspace", "--doc"]));
    tests.and(documentation)
}

/// All of them whatever fails, with the servers installed first.
fn stores() -> Result<()> {
    let (postgres, versitygw, minio) =
        (tools::postgres()?, tools::VERSITYGW.find()?, tools::MINIO.find()?);
    let mut command = cargo();
    // Of the whole workspace, as the unit tests: for fewer crates all would be built once more, with
    // the features that these need.
    command
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(STORES.iter().flat_map(|name| ["--test", name]))
        .env("STRONGROOM_POSTGRES_BIN", postgres)
        .env("STRONGROOM_VERSITYGW", versitygw)
        .env("STRONGROOM_MINIO", minio);
    run::show(&mut command)
}

fn decoders() -> Result<()> {
    run::show(cargo().args(["test", "--workspace", "--test", DECODERS]))
}

/// One suite after the other, all of them whatever fails.
fn suites(args: &TestArgs) -> Result<()> {
    let mut command = cargo();
    // With the server, which other stages build: what both need is built once.
    command
        .args(["test", "--no-fail-fast", "--profile", registry::GATE, "-p", "strongroom"])
        .args(["-p", "strongroom-engine", "--features", "strongroom-engine/testing"])
        .args(SUITES.iter().flat_map(|name| ["--test", name]));
    if args.long {
        command.env("STRONGROOM_LONG", "1");
    }
    run::show(&mut command)
}
