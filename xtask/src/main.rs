//! `cargo xtask`: every check and measurement of this repository, as CI runs them.
//!
//! `cargo xtask test` is the gate. It has stages (see [`stages`]); each is one promise that can be
//! checked alone with `--only`. A stage that needs a real client or server installs it at an exact
//! version (see [`tools`]); what cannot be had fails its stage, it is never skipped.

mod bench;
mod clients;
mod conformance;
mod content;
mod deploy;
mod dist;
mod fuzz;
mod http;
mod lambda;
mod registry;
mod run;
mod servers;
mod site;
mod stages;
mod style;
mod threats;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks and measures Strongroom")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all checks, or some of them; what CI runs
    Test(stages::TestArgs),
    /// Run the benches of a group, or of all groups; figures also land in target/bench/GROUP.jsonl
    Bench(bench::BenchArgs),
    /// Run real clients against the server, end to end
    Clients(clients::ClientsArgs),
    /// Run the conformance suite of the distribution spec, stable and dev
    Conformance(conformance::ConformanceArgs),
    /// Build the program as it is shipped: optimised as a whole, and by what it does at work
    Dist(dist::DistArgs),
    /// Install the real clients and servers the tests need, and print where each is
    Tools,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Test(args) => stages::test(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Clients(args) => clients::clients(&args),
        Command::Conformance(args) => conformance::conformance(&args),
        Command::Dist(args) => dist::dist(&args),
        Command::Tools => tools::print_all(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
