//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use strongroom_engine::id::BackupId;

use crate::ops::{Command, backup_id};
use crate::remote::ServerUrl;

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
    /// Do it at a server elsewhere, through its API: `https://HOST[:PORT]`; `login` there first
    #[arg(long, global = true, value_name = "URL", conflicts_with_all = ["config", "data"])]
    pub(crate) server: Option<ServerUrl>,
    /// At a server: sign in with the password for this verb, from the terminal or standard input
    #[arg(long, global = true)]
    pub(crate) ask_password: bool,
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
    /// Make profiles and first organisations of people who sign up, until it is asked to end
    ///
    /// Hears of sign-ups in the queue of `signups.queue_url`, and walks through the user pool of
    /// `signups.user_pool_id` every so often for people whom an administrator created. `strongroom serve` does
    /// the same by itself where the queue is set; this does it alone, on a machine or under a role of its own,
    /// so that servers need no right to the queue and the pool. Run as many as you like: one person gets one
    /// organisation, whoever hears of them.
    ///
    /// It needs stores that several processes may share: facts in PostgreSQL (postgres.url) and bytes in a bucket
    /// (s3.bucket). Where the facts lie in a data folder, one process owns them: let `serve` do it there.
    /// Give it a data folder of its own with --data; metrics.listen serves its metrics.
    ///
    /// What it takes at AWS, and how the Lambda before it is built, is in docs/signups.md.
    Worker,
    #[command(flatten)]
    Ask(Command),
    /// Sign in at the server of --server
    ///
    /// The password comes from the terminal, or from the first line of standard input. It is traded
    /// for a token, which a file of yours holds; verbs that take the password itself say so, and
    /// ask for it with --ask-password.
    Login {
        /// Who you are there [default: whoever signed in last]
        #[arg(long, value_name = "NAME")]
        username: Option<String>,
    },
    /// Forget the sign-in at the server of --server; with --ask-password its token ends there, too
    Logout,
    /// Make an installation of a backup, in a data folder that is new or empty
    ///
    /// The backup is read to its end before anything is written; objects come before what names them, and
    /// `fsck` last. A restore that was interrupted is no installation: give the same command again and it
    /// goes on where it stood. `strongroom --data NEW restore DIR`, and then `strongroom --data NEW serve`.
    ///
    /// The master key (keys/master in the old data folder) seals secrets in the backup, so it must come
    /// along: from the backup, where it was made with --with-master-key, or from --master-key FILE.
    Restore(Restore),
    /// Copy this installation into other stores, and check it there
    ///
    /// Every object is verified by its digest on the way, and the master key comes along. Nobody may serve
    /// the installation meanwhile: stop the server first, on all nodes where the stores are shared. A copy that was
    /// interrupted goes on where it stood when the same command is given again, and brings what
    /// changed since. The source is only read: it stays as it is until you remove it.
    CopyStorage(CopyStorage),
    /// Bring the database of postgres.url to what this program needs
    ///
    /// To be run once before the first start, and again before the first start of a program that says
    /// so. Nodes of the version before go on meanwhile or are refused, never half served.
    Migrate,
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

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The folder that `strongroom backup create` wrote
    #[arg(value_name = "DIR")]
    pub(crate) from: PathBuf,
    /// Which backup of the folder, as `strongroom backup list` names it [default: the newest]
    #[arg(long, value_name = "ID", value_parser = backup_id)]
    pub(crate) backup: Option<BackupId>,
    /// The master key of the installation that was backed up, where the backup does not have it
    #[arg(long, value_name = "FILE")]
    pub(crate) master_key: Option<PathBuf>,
    /// Take the objects that are in the blob store already: for when the metadata alone was lost
    ///
    /// What no row names stays, pinned, until you have run `strongroom adopt` and dropped the pin.
    #[arg(long)]
    pub(crate) over_objects: bool,
    /// Go on where objects can't be had; fsck then lists what is lost
    #[arg(long)]
    pub(crate) lossy: bool,
    /// Let the check at the end read all bytes again
    #[arg(long)]
    pub(crate) deep: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct CopyStorage {
    /// The data folder to copy into, new or empty
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    /// The settings of the installation to copy into (TOML): its stores and its data folder
    #[arg(long, value_name = "FILE")]
    pub(crate) to_config: Option<PathBuf>,
}
