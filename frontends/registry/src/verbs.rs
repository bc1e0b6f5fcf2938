//! A verb from the command line to its output: here, or in the server that has the data open.

use std::io::Read;
use std::process::ExitCode;

use crate::app::App;
use crate::config::Config;
use crate::console::Bar;
use crate::data::DataFolder;
use crate::failure::{FINDINGS, Failure};
use crate::ops::{
    BackupVerb, Command, Hidden, Outcome, PythonVerb, Run, Step, Told, UpstreamVerb, UserVerb,
};
use crate::{carry, console, control};

/// The longest password that is read from standard input, in bytes.
const MAX_PASSWORD: u64 = 4096;

/// Runs a verb and shows what it found.
pub(crate) async fn run(
    config: &Config,
    mut command: Command,
    json: bool,
) -> Result<ExitCode, Failure> {
    read_password(&mut command)?;
    if let Command::Backup(verb) = &mut command {
        // The server works in another folder.
        verb.make_absolute()?;
        if let BackupVerb::Verify { from, backup } = verb {
            return carry::verify(from, *backup, json).await;
        }
    }
    let folder = DataFolder::open(&config.data)?;
    let bar = Bar::new(json);
    let tell = |told: Told| match told {
        Told::Line(line) => console::say(&format!("{line}\n")),
        Told::Progress { phase, done, bytes, part } => {
            bar.show(&phase, done, bytes, part);
            Ok(())
        }
    };
    let ran = match control::connect(&folder.control()).await? {
        Some(server) => server.run(&command, tell).await,
        None => here(config, folder, command, tell).await,
    };
    bar.clear();
    show(&ran?, json)
}

/// Writes what a verb found, and says the exit code.
pub(crate) fn show(outcome: &Outcome, json: bool) -> Result<ExitCode, Failure> {
    let text = if json { format!("{}\n", outcome.json) } else { outcome.text.clone() };
    console::say(&text)?;
    Ok(if outcome.findings { ExitCode::from(FINDINGS) } else { ExitCode::SUCCESS })
}

/// Opens the data for one verb.
async fn here(
    config: &Config,
    folder: DataFolder,
    command: Command,
    tell: impl Fn(Told) -> Result<(), Failure>,
) -> Result<Outcome, Failure> {
    let _folder = folder.lock()?;
    let app = App::open(config, folder).await?;
    let mut run = Run::start(app.clone(), command);
    let done = loop {
        match run.next().await {
            Step::Told(told) => tell(told)?,
            Step::Done(done) => break done,
        }
    };
    app.close().await?;
    done
}

/// Whether a verb takes a password from standard input.
pub(crate) fn reads_password(command: &Command) -> bool {
    matches!(
        command,
        Command::User(
            UserVerb::Create { password_stdin: true, .. }
                | UserVerb::ResetPassword { password_stdin: true, .. }
        ) | Command::Python(PythonVerb::Upstream(UpstreamVerb::Set { password_stdin: true, .. }))
    )
}

/// Takes a password from standard input, where that was asked for.
pub(crate) fn read_password(command: &mut Command) -> Result<(), Failure> {
    let (Command::User(
        UserVerb::Create { password_stdin: true, password, .. }
        | UserVerb::ResetPassword { password_stdin: true, password, .. },
    )
    | Command::Python(PythonVerb::Upstream(UpstreamVerb::Set {
        password_stdin: true,
        password,
        ..
    }))) = command
    else {
        return Ok(());
    };
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_PASSWORD).read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format!("no password could be read: {error}")))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::usage("there is no password on standard input"));
    }
    *password = Some(Hidden(line.to_owned()));
    Ok(())
}
