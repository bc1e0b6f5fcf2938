//! Backups: making, listing, and letting them go.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;
use strongroom_engine::backup::{BackupFolder, BackupInfo, BackupOptions, BackupReport, Pin};
use strongroom_engine::gc::Progress;
use strongroom_engine::id::BackupId;

use super::args::backup_id;
use super::maintenance::{line, tally_json};
use super::table::{size, table, time};
use super::{Outcome, Teller};
use crate::app::App;
use crate::data::write_private;
use crate::failure::Failure;

/// The master key in the folder of backups, where it was asked for.
pub(crate) const MASTER: &str = "master.key";

#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum BackupVerb {
    /// Write a backup of this moment into a folder, while everybody works
    ///
    /// The first makes the folder; each later one adds what is new. Where the folder is on the file
    /// system of the data, objects are shared and not copied: that protects against mistakes, not against
    /// the loss of the disk, so copy the folder elsewhere (objects first, archives last).
    /// Uploads under way are not in it: their clients begin again.
    ///
    /// Exits 1 where objects that should be there could not be read: the backup has the rest.
    Create {
        /// The folder of the backups
        #[arg(value_name = "DIR")]
        to: PathBuf,
        /// Leave the objects where they are, and keep collection from them until the backup is dropped:
        /// for a bucket
        #[arg(long)]
        pin: bool,
        /// Put the master key beside it: then whoever has the folder has every secret in it
        #[arg(long)]
        with_master_key: bool,
    },
    /// List what is pinned, and the backups in a folder
    List {
        /// The folder of the backups
        #[arg(value_name = "DIR")]
        from: Option<PathBuf>,
    },
    /// Read a backup to its end and hash all of it; exits 1 where an object is wrong
    ///
    /// Needs no data and no server.
    Verify {
        /// The folder of the backups
        #[arg(value_name = "DIR")]
        from: PathBuf,
        /// Which backup [default: the newest]
        #[arg(long, value_name = "ID", value_parser = backup_id)]
        backup: Option<BackupId>,
    },
    /// Let a backup go: its pin, and its archive where a folder is named
    ///
    /// What only its pin kept goes with the next collections. Objects in the folder stay: other
    /// backups need them.
    Drop {
        /// Which
        #[arg(value_name = "ID", value_parser = backup_id)]
        backup: BackupId,
        /// The folder of the backups
        #[arg(value_name = "DIR")]
        from: Option<PathBuf>,
    },
}

impl BackupVerb {
    /// Makes the folder's path one that means the same to every process.
    pub(crate) fn make_absolute(&mut self) -> Result<(), Failure> {
        let (Self::Create { to: path, .. }
        | Self::List { from: Some(path) }
        | Self::Verify { from: path, .. }
        | Self::Drop { from: Some(path), .. }) = self
        else {
            return Ok(());
        };
        *path = std::path::absolute(&*path)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        Ok(())
    }
}

pub(super) async fn backup(
    app: &App,
    verb: BackupVerb,
    teller: &Teller,
) -> Result<Outcome, Failure> {
    match verb {
        BackupVerb::Create { to, pin, with_master_key } => {
            create(app, &to, pin, with_master_key, teller).await
        }
        BackupVerb::List { from } => list(app, from.as_deref()).await,
        BackupVerb::Drop { backup, from } => drop_backup(app, backup, from.as_deref()).await,
        BackupVerb::Verify { .. } => {
            Err(Failure::failed("a backup is verified by the command line itself"))
        }
    }
}

/// Opens the folder, where it may make it.
pub(crate) async fn open(path: &Path, make: bool) -> Result<BackupFolder, Failure> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        if make { BackupFolder::open_or_make(&path) } else { BackupFolder::open(&path) }
    });
    let opened = opened.await;
    Ok(opened.map_err(|error| Failure::failed(format!("opening the folder failed: {error}")))??)
}

async fn create(
    app: &App,
    to: &Path,
    pin: bool,
    with_master_key: bool,
    teller: &Teller,
) -> Result<Outcome, Failure> {
    let folder = open(to, true).await?;
    if with_master_key {
        let kept = std::fs::read(app.folder.master_path())
            .and_then(|key| write_private(&to.join(MASTER), &key));
        kept.map_err(|error| Failure::failed(format!("can't keep the master key: {error}")))?;
    }
    let mut options = BackupOptions::default();
    options.pin = pin;
    let watch = |progress: &Progress| teller.progress(progress);
    let report = app.engine.backup(&folder, &options, &watch).await?;
    let mut text = created(&report);
    let has_key = to.join(MASTER).exists();
    if !has_key {
        let key = app.folder.master_path();
        text.extend([format!(
            "not in it: the master key {}; keep a copy of it apart, a restore asks for it\n",
            key.display()
        )]);
    }
    let json = json!({
        "id": report.id,
        "created_at": time(report.created_at),
        "path": report.path,
        "pinned": report.pinned,
        "rows": report.rows,
        "copied": tally_json(report.copied),
        "linked": tally_json(report.linked),
        "there": tally_json(report.there),
        "uploads_left_out": report.uploads,
        "master_key": has_key,
        "wrong": report.wrong,
        "problems": report.problems,
    });
    Ok(Outcome { text, json, findings: report.wrong > 0 })
}

fn created(report: &BackupReport) -> String {
    let mut text =
        format!("backup {} of {}: {} rows\n", report.id, time(report.created_at), report.rows);
    let there =
        if report.pinned { "objects pinned where they are" } else { "objects there before" };
    for (what, tally) in [
        ("objects copied", report.copied),
        ("objects shared on the same file system (copy the folder elsewhere)", report.linked),
        (there, report.there),
    ] {
        if tally.count > 0 {
            text.push_str(&line(what, tally));
        }
    }
    if report.wrong > 0 {
        text.extend([format!("    NOT WHOLE: {} objects could not be had\n", report.wrong)]);
        for problem in &report.problems {
            text.extend([format!("        {problem}\n")]);
        }
        text.push_str("    run `strongroom fsck` to see what is lost in the store itself\n");
    }
    text
}

async fn list(app: &App, from: Option<&Path>) -> Result<Outcome, Failure> {
    let pins = app.engine.pins().await?;
    let backups = match from {
        Some(path) => {
            let folder = open(path, false).await?;
            let read = tokio::task::spawn_blocking(move || folder.backups()).await;
            read.map_err(|error| Failure::failed(error.to_string()))??
        }
        None => Vec::new(),
    };
    let json = json!({
        "pins": pins.iter().map(|pin| json!({
            "id": pin.id,
            "at": time(pin.at),
            "until": pin.until.map(time),
            "what": pin.what,
        })).collect::<Vec<_>>(),
        "backups": backups.iter().map(|info| json!({
            "id": info.id,
            "created_at": time(info.created_at),
            "pinned": info.pinned,
            "path": info.path,
            "bytes": info.bytes,
        })).collect::<Vec<_>>(),
    });
    Ok(Outcome::new(listed(&pins, &backups), json))
}

fn listed(pins: &[Pin], backups: &[BackupInfo]) -> String {
    let pin_rows: Vec<_> = pins
        .iter()
        .map(|pin| {
            let until = pin.until.map_or_else(|| "dropped".to_owned(), time);
            vec![pin.id.to_string(), time(pin.at), until, pin.what.clone()]
        })
        .collect();
    let rows: Vec<_> = backups
        .iter()
        .map(|info| {
            let objects = if info.pinned { "pinned in the store" } else { "in the folder" };
            let (id, at) = (info.id.to_string(), time(info.created_at));
            vec![id, at, size(info.bytes), objects.to_owned()]
        })
        .collect();
    let mut text = String::new();
    if rows.is_empty() && pin_rows.is_empty() {
        text.push_str("nothing is pinned; name a folder to see the backups in it\n");
    }
    if !pin_rows.is_empty() {
        text.push_str(&table(&["PIN", "KEEPS WHAT WAS THERE AT", "UNTIL", "FOR"], &pin_rows));
    }
    if !rows.is_empty() {
        text.push_str(&table(&["BACKUP", "OF", "ARCHIVE", "OBJECTS"], &rows));
    }
    text
}

async fn drop_backup(app: &App, id: BackupId, from: Option<&Path>) -> Result<Outcome, Failure> {
    let removed = match from {
        Some(path) => {
            let folder = open(path, false).await?;
            let removed = tokio::task::spawn_blocking(move || folder.remove(id)).await;
            removed.map_err(|error| Failure::failed(error.to_string()))??
        }
        None => false,
    };
    let pin = app.engine.drop_pin(id).await?;
    if !pin && !removed {
        return Err(Failure::failed(format!(
            "there is no backup {id}; `strongroom backup list` shows pins, and with a folder its backups"
        )));
    }
    let what = match (pin, removed) {
        (true, true) => "its pin and its archive are gone",
        (true, false) => "its pin is gone",
        _ => "its archive is gone",
    };
    let json = json!({ "id": id, "pin": pin, "archive": removed });
    Ok(Outcome::new(format!("backup {id}: {what}\n"), json))
}
