//! The verbs against a server elsewhere, through its API: `strongroom --server URL VERB`.
//!
//! **Promises.** The same verbs do the same as on local data, as far as the caller may. A password is read
//! from the terminal or from standard input, sent to the server alone, and never kept: `login` trades
//! it for a token, which a file of mode 0600 holds. What takes the password itself asks for it.
//!
//! **Never.** It follows a redirect with credentials, or sends them unencrypted to another machine.

mod beside;
mod client;
mod login;
mod python;
mod secret;
mod verbs;

use std::process::ExitCode;

use crate::console::Bar;
use crate::failure::Failure;
use crate::ops::{Command, Outcome};
use crate::verbs::show;

pub(crate) use client::ServerUrl;

/// How to reach a server and sign in there.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    pub(crate) server: ServerUrl,
    /// Whether to sign in with the password for this verb.
    pub(crate) ask_password: bool,
}

/// What is asked of a server.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one, and it is not kept")]
pub(crate) enum Asked {
    Login { username: Option<String> },
    Logout,
    Verb(Command),
}

/// Does it, and shows what came of it.
pub(crate) async fn run(reach: &Reach, asked: Asked, json: bool) -> Result<ExitCode, Failure> {
    let outcome: Outcome = match asked {
        Asked::Login { username } => login::login(reach, username).await?,
        Asked::Logout => login::logout(reach).await?,
        Asked::Verb(command) => {
            let session = login::session(reach)?;
            verbs::run(&session, command, &Bar::new(json)).await?
        }
    };
    show(&outcome, json)
}
