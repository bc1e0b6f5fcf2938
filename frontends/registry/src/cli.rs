//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::ops::Command;

const AFTER: &str = "\
Settings are taken from defaults, then the file of --config, then STRONGROOM_* of the environment
(STRONGROOM_LISTEN, STRONGROOM_LOG_FORMAT, …), then flags; `strongroom config check` shows them.

While a server runs on the data, verbs reach it through a socket in the folder; else they open the data
themselves.

Exit codes: 0 done; 1 done, and something is wrong with what was looked at; 2 the command line or the
settings are no good; 3 refused or failed; 4 the data or the server does not answer now.";

/// One secure room for software artifacts: a registry for many organisations.
///
/// `strongroom serve` is all it takes: the first start makes a folder for the data, an administrator,
/// an organisation and a registry, and tells how to push.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, after_help = AFTER, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What goes with every verb.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The file of the settings (TOML)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The folder of the data [default: ./strongroom-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Serve the registry until it is asked to end (SIGTERM, Ctrl-C)
    ///
    /// Prints `listening on http://ADDRESS`. At its first start it makes the user admin, the
    /// organisation default and the registry main, and prints the password once;
    /// the variable `STRONGROOM_BOOTSTRAP_PASSWORD` chooses it instead.
    Serve {
        /// Where to listen; port 0 picks a free one [default: 127.0.0.1:5000]
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<SocketAddr>,
    },
    #[command(flatten)]
    Ask(Command),
    /// Look at the settings
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Check the settings and print all that are in force
    Check,
}
