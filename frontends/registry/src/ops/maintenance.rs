//! Keeping house: the verbs that take long.

use serde_json::{Value, json};
use strongroom_engine::gc::{
    AdoptOptions, CollectOptions, CollectReport, FsckOptions, FsckReport, Progress, ScrubOptions,
    Tally,
};

use super::table::size;
use super::{Outcome, Teller};
use crate::app::App;
use crate::failure::Failure;

/// What to do where the bucket is of another epoch than the metadata.
const REFUSED: &str = "    NOT SWEPT: the metadata are older than the bucket, as after a restore, and may \
                       not name what was pushed since. Run `strongroom adopt` first, which takes up \
                       what is wanted; or `strongroom gc --despite-restore`, to delete it\n";

pub(super) async fn gc(
    app: &App,
    options: &CollectOptions,
    teller: &Teller,
) -> Result<Outcome, Failure> {
    let dry_run = options.dry_run;
    let watch = |progress: &Progress| teller.progress(progress);
    let report = app.engine.collect(options, &watch).await?;
    let head = if dry_run { "would be done now" } else { "done" };
    let mut text = format!("{head}; {} rows looked at\n", report.looked_at);
    let mut json = serde_json::Map::new();
    json.insert("dry_run".to_owned(), dry_run.into());
    json.insert("looked_at".to_owned(), report.looked_at.into());
    for (key, what, tally) in tallies(&report) {
        if tally.count > 0 {
            text.push_str(&line(what, tally));
        }
        json.insert(key.to_owned(), tally_json(tally));
    }
    for (key, what, count) in counts(&report) {
        if count > 0 {
            text.push_str(&plain_line(what, count));
        }
        json.insert(key.to_owned(), count.into());
    }
    if !report.complete {
        text.push_str("    not all was looked at: the next run goes on there\n");
    }
    json.insert("complete".to_owned(), report.complete.into());
    if report.refused {
        text.push_str(REFUSED);
    }
    json.insert("refused".to_owned(), report.refused.into());
    Ok(Outcome { text, json: json.into(), findings: report.refused })
}

pub(crate) fn line(what: &str, tally: Tally) -> String {
    format!("    {what}: {} ({})\n", tally.count, size(tally.bytes))
}

fn plain_line(what: &str, count: u64) -> String {
    format!("    {what}: {count}\n")
}

pub(crate) fn tally_json(tally: Tally) -> Value {
    json!({ "count": tally.count, "bytes": tally.bytes })
}

fn tallies(report: &CollectReport) -> [(&'static str, &'static str, Tally); 11] {
    [
        ("links", "links removed", report.links),
        ("given_up", "contents given up", report.given_up),
        ("deleted", "contents deleted", report.deleted),
        ("settled", "objects moved under their digest", report.settled),
        ("copied", "small manifests copied to the bucket", report.copied),
        ("uncopied", "copies of manifests that are gone", report.uncopied),
        ("uploads", "uploads expired", report.uploads),
        ("orphans", "objects that nothing named", report.orphans),
        ("pinned", "objects that are pinned for backups", report.pinned),
        ("foreign", "objects that are not ours, left alone", report.foreign),
        ("tenant_objects", "objects of deleted tenants", report.tenant_objects),
    ]
}

fn counts(report: &CollectReport) -> [(&'static str, &'static str, u64); 5] {
    [
        ("expired_tags", "tags that rules let go", report.expired_tags),
        ("expired_manifests", "manifests that rules let go", report.expired_manifests),
        ("tenant_rows", "rows of deleted tenants", report.tenant_rows),
        ("unreadable", "rows that can't be read (fsck names them)", report.unreadable),
        ("failed", "steps that failed; the next collection tries again", report.failed),
    ]
}

pub(super) async fn fsck(app: &App, deep: bool, teller: &Teller) -> Result<Outcome, Failure> {
    let mut options = FsckOptions::default();
    options.deep = deep;
    let watch = |progress: &Progress| teller.progress(progress);
    Ok(fsck_outcome(&app.engine.fsck(&options, &watch).await?))
}

/// What a check found, for people and for scripts.
pub(crate) fn fsck_outcome(report: &FsckReport) -> Outcome {
    let counts = &report.counts;
    let verdict = match report.wrong {
        0 => "clean".to_owned(),
        wrong => format!("NOT CLEAN: {wrong} things are wrong"),
    };
    let mut text = format!("{verdict}; {} rows read\n", counts.rows);
    if report.waits_for_adopt {
        text.push_str(
            "    the metadata were restored: objects that they do not name stay until `strongroom \
             adopt` has run\n",
        );
    }
    for finding in &report.findings {
        text.push_str("    ");
        text.push_str(&finding.to_string());
        text.push('\n');
    }
    for (what, tally) in [
        ("contents", counts.contents),
        ("objects", counts.objects),
        ("copies of small manifests", counts.copies),
        ("small manifests not copied yet", counts.uncopied_manifests),
        ("garbage, for a collection", counts.garbage),
        ("objects that are not ours", counts.foreign),
        ("uploads under way", counts.uploads),
    ] {
        text.push_str(&line(what, tally));
    }
    let json = json!({
        "clean": report.is_clean(),
        "wrong": report.wrong,
        "waits_for_adopt": report.waits_for_adopt,
        "findings": report.findings.iter().map(|finding| json!({
            "invariant": finding.invariant.to_string(),
            "organisation": finding.organisation,
            "what": finding.what,
        })).collect::<Vec<_>>(),
        "rows": counts.rows,
        "organisations": counts.organisations,
        "registries": counts.registries,
        "repositories": counts.repositories,
        "contents": tally_json(counts.contents),
        "links": counts.links,
        "manifests": counts.manifests,
        "inline_manifests": tally_json(counts.inline_manifests),
        "uncopied_manifests": tally_json(counts.uncopied_manifests),
        "copies": tally_json(counts.copies),
        "tags": counts.tags,
        "uploads": tally_json(counts.uploads),
        "objects": tally_json(counts.objects),
        "garbage": tally_json(counts.garbage),
        "foreign": tally_json(counts.foreign),
        "lines": counts.lines,
    });
    Outcome { text, json, findings: !report.is_clean() }
}

pub(super) async fn scrub(
    app: &App,
    options: &ScrubOptions,
    teller: &Teller,
) -> Result<Outcome, Failure> {
    let watch = |progress: &Progress| teller.progress(progress);
    let report = app.engine.scrub(options, &watch).await?;
    let findings = report.wrong > 0 || report.quarantined.count > 0;
    let mut text = String::new();
    if report.resumed {
        text.push_str("    went on where an earlier run of the same share was stopped\n");
    }
    text.push_str(&line("read and right", report.good));
    for rotten in &report.rotten {
        let now = if rotten.quarantined { "absent until it is pushed again" } else { "not hidden" };
        let (of, digest, what) = (rotten.organisation, rotten.digest, &rotten.what);
        text.extend([format!("    ROTTEN {of} {digest}: {what} ({now})\n")]);
    }
    for (what, tally) in [
        ("found rotten before, and not healed yet", report.quarantined),
        ("could not be read now", report.unread),
    ] {
        if tally.count > 0 {
            text.push_str(&line(what, tally));
        }
    }
    let json = json!({
        "resumed": report.resumed,
        "good": tally_json(report.good),
        "rotten": report.rotten.iter().map(|rotten| json!({
            "organisation": rotten.organisation,
            "digest": rotten.digest,
            "what": rotten.what,
            "quarantined": rotten.quarantined,
        })).collect::<Vec<_>>(),
        "wrong": report.wrong,
        "quarantined": tally_json(report.quarantined),
        "unread": tally_json(report.unread),
    });
    Ok(Outcome { text, json, findings })
}

pub(super) async fn adopt(app: &App, dry_run: bool, teller: &Teller) -> Result<Outcome, Failure> {
    let mut options = AdoptOptions::default();
    options.dry_run = dry_run;
    let watch = |progress: &Progress| teller.progress(progress);
    let report = app.engine.adopt(&options, &watch).await?;
    let head = if dry_run { "would be done now" } else { "done" };
    let mut text = format!("{head}\n");
    let mut json = serde_json::Map::new();
    json.insert("dry_run".to_owned(), dry_run.into());
    for (key, what, tally) in [
        ("adopted", "contents that have their bytes again", report.adopted),
        ("rebuilt", "small manifests written anew from the bucket", report.rebuilt),
        ("lost", "small manifests whose bytes are nowhere", report.lost),
        ("forgotten", "copies that a collection makes anew", report.forgotten),
        ("wrong", "objects whose bytes are wrong", report.wrong),
        ("unread", "objects that could not be read now", report.unread),
        ("unlinked", "objects that nothing links, for a collection", report.unlinked),
        ("named", "objects as they should be", report.named),
        ("unknown", "objects that can't be told", report.unknown),
    ] {
        text.push_str(&line(what, tally));
        json.insert(key.to_owned(), tally_json(tally));
    }
    Ok(Outcome { text, json: json.into(), findings: report.wrong.count + report.lost.count > 0 })
}

pub(super) async fn compact(app: &App) -> Result<Outcome, Failure> {
    let bytes = app.engine.compact().await?;
    Ok(Outcome::new(format!("{} given back\n", size(bytes)), json!({ "bytes": bytes })))
}
