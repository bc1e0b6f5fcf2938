//! The verbs that make an installation elsewhere: restore and copy-storage; and the one that reads a
//! backup. They open what they need themselves: no server has it yet, or may have it.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use strongroom_engine::backup::{self, BackupError, RestoreOptions, RestoreReport, Stores};
use strongroom_engine::gc::Progress;
use strongroom_engine::id::BackupId;
use strongroom_engine::seam::Seams;

use crate::app::App;
use crate::cli::Restore;
use crate::config::Config;
use crate::console::Bar;
use crate::data::DataFolder;
use crate::failure::Failure;
use crate::ops::backup::{MASTER, open};
use crate::ops::maintenance::{line, tally_json};
use crate::ops::{Outcome, fsck_outcome};
use crate::{control, storage, verbs};

/// `strongroom restore`.
pub(crate) async fn restore(
    config: &Config,
    asked: Restore,
    json: bool,
) -> Result<ExitCode, Failure> {
    let from = open(&asked.from, false).await?;
    let key = master_key(&asked)?;
    let folder = DataFolder::open_or_make(&config.data)?;
    refuse_server(&folder, "restored into").await?;
    let seams = Seams::default();
    let stores = storage::open(config, &folder, &seams).await?;
    let mut options = RestoreOptions::default();
    options.backup = asked.backup;
    options.over_objects = asked.over_objects;
    options.lossy = asked.lossy;
    options.deep = asked.deep;
    options.settings = storage::settings(config);
    // The key before the rows that it opens; a folder that has another one is not empty.
    install(config, &folder, &key)?;
    let bar = Bar::new(json);
    let watch = |progress: &Progress| bar.watch(progress);
    let restored = backup::restore(&from, &stores, &seams, &options, &watch).await;
    bar.clear();
    let report = restored.map_err(hint)?;
    opens(config, &folder, stores, seams).await?;
    verbs::show(&outcome(config, &report), json)
}

/// The master key that the backup's secrets are sealed by.
fn master_key(asked: &Restore) -> Result<Vec<u8>, Failure> {
    let path = asked.master_key.clone().unwrap_or_else(|| asked.from.join(MASTER));
    std::fs::read(&path).map_err(|error| {
        if asked.master_key.is_none() && error.kind() == std::io::ErrorKind::NotFound {
            return Failure::usage(
                "the backup has no master key, and without it the secrets in the backup stay sealed: name \
                 the file keys/master of the installation that was backed up with --master-key",
            );
        }
        Failure::failed(format!("can't read the master key {}: {error}", path.display()))
    })
}

/// Puts the master key where the new installation looks for it; a file that the settings name has to be
/// there, with the same key.
fn install(config: &Config, folder: &DataFolder, key: &[u8]) -> Result<(), Failure> {
    let Some(file) = &config.identity.master_key_file else {
        return folder.install_master_key(key);
    };
    match std::fs::read(file) {
        Ok(there) if there == key => Ok(()),
        Ok(_) => Err(Failure::failed(format!(
            "identity.master_key_file {} is another key than the installation's that is brought here: put \
             that one there",
            file.display()
        ))),
        Err(error) => Err(Failure::failed(format!(
            "can't read identity.master_key_file {}: {error}; put the key there of the installation that is \
             brought here",
            file.display()
        ))),
    }
}

fn outcome(config: &Config, report: &RestoreReport) -> Outcome {
    let check = fsck_outcome(&report.fsck);
    let mut text = format!("restored backup {}: {} rows\n", report.backup.id, report.rows);
    text.push_str(&line("objects copied", report.copied));
    text.push_str(&line("objects there before", report.there));
    for problem in &report.problems {
        text.extend([format!("    LOST {problem}\n")]);
    }
    text.push_str(&check.text);
    if let Some(pin) = report.pin {
        text.extend([format!(
            "what else is in the blob store stays: run `strongroom adopt`, and then \
             `strongroom backup drop {pin}`\n"
        )]);
    }
    text.extend([format!("next: strongroom --data {} serve\n", config.data.display())]);
    let json = json!({
        "backup": report.backup.id,
        "rows": report.rows,
        "copied": tally_json(report.copied),
        "there": tally_json(report.there),
        "wrong": report.wrong,
        "problems": report.problems,
        "pin": report.pin,
        "fsck": check.json,
    });
    Outcome { text, json, findings: check.findings || report.wrong > 0 }
}

/// `strongroom copy-storage`.
pub(crate) async fn copy_storage(
    config: &Config,
    target: &Config,
    json: bool,
) -> Result<ExitCode, Failure> {
    let folder = DataFolder::open(&config.data)?;
    refuse_server(&folder, "copied").await?;
    let into = DataFolder::open_or_make(&target.data)?;
    refuse_server(&into, "copied into").await?;
    let seams = Seams::default();
    let source = storage::open(config, &folder, &seams).await?;
    let stores = storage::open(target, &into, &seams).await?;
    let path = config.identity.master_key_file.clone().unwrap_or_else(|| folder.master_path());
    let key = std::fs::read(&path).map_err(|error| {
        Failure::failed(format!("can't read the master key {}: {error}", path.display()))
    })?;
    install(target, &into, &key)?;
    let settings = storage::settings(target);
    let bar = Bar::new(json);
    let watch = |progress: &Progress| bar.watch(progress);
    let copied = backup::copy_storage(&source, &stores, &seams, &settings, &watch).await;
    bar.clear();
    let report = copied.map_err(hint)?;
    opens(target, &into, stores, seams).await?;
    let check = fsck_outcome(&report.fsck);
    let mut text = format!("copied: {} rows\n", report.rows);
    text.push_str(&line("objects copied now", report.copied));
    text.push_str(&line("objects copied before", report.there));
    text.push_str(&check.text);
    text.push_str(
        "the source is as it was; serve the copy, and remove the source when you trust it\n",
    );
    let shown = json!({
        "rows": report.rows,
        "copied": tally_json(report.copied),
        "there": tally_json(report.there),
        "uploads_left_out": report.uploads,
        "fsck": check.json,
    });
    verbs::show(&Outcome { text, json: shown, findings: check.findings }, json)
}

/// `strongroom backup verify`.
pub(crate) async fn verify(
    from: &Path,
    id: Option<BackupId>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let folder = open(from, false).await?;
    let bar = Bar::new(json);
    let watch = |progress: &Progress| bar.watch(progress);
    let verified = folder.verify(id, &watch).await;
    bar.clear();
    let report = verified?;
    let id = report.backup.id;
    let mut text = format!("backup {id} is whole: {} rows\n", report.rows);
    if report.backup.pinned {
        text.push_str(
            "    its objects are pinned in the store: `strongroom fsck --deep` reads them there\n",
        );
    } else {
        text.push_str(&line("objects read and right", report.objects));
    }
    if report.wrong > 0 {
        text.extend([format!("    WRONG: {} objects\n", report.wrong)]);
        for problem in &report.problems {
            text.extend([format!("        {problem}\n")]);
        }
    }
    let shown = json!({
        "backup": id,
        "rows": report.rows,
        "pinned": report.backup.pinned,
        "objects": tally_json(report.objects),
        "wrong": report.wrong,
        "problems": report.problems,
    });
    verbs::show(&Outcome { text, json: shown, findings: report.wrong > 0 }, json)
}

/// Fails where a server has the data open.
async fn refuse_server(folder: &DataFolder, what: &str) -> Result<(), Failure> {
    if control::connect(&folder.control()).await?.is_none() {
        return Ok(());
    }
    Err(Failure::away(format!(
        "a server serves the data that is to be {what}: stop it (SIGTERM), and run this again"
    )))
}

/// Opens the new installation once as a server would: that shows whether the master key is the right one.
async fn opens(
    config: &Config,
    folder: &DataFolder,
    stores: Stores,
    seams: Seams,
) -> Result<(), Failure> {
    let app = App::over(config, folder.clone(), stores, seams).await.map_err(|failure| {
        let key = folder.master_path();
        Failure::failed(format!(
            "all rows and objects are there, but it does not open: {failure}. If the master key is another \
             installation's, put the right one at {}",
            key.display()
        ))
    })?;
    app.close().await
}

/// Adds which flag goes on.
fn hint(error: BackupError) -> Failure {
    let flag = match &error {
        BackupError::NotEmpty { what } if what.contains("restore over them") => " (--over-objects)",
        BackupError::Objects { .. } => " (restore: --lossy)",
        _ => "",
    };
    let Failure { kind, message } = error.into();
    Failure { kind, message: format!("{message}{flag}") }
}
