//! Figures, and where they are written.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;
use strongroom_engine::digest::{Algorithm, Digest};

/// What a goal bounds.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// `value / against_value` is at least this.
    RatioAtLeast(f64),
    /// `value / against_value` is at most this.
    RatioAtMost(f64),
}

/// One measured claim.
#[derive(Debug, Serialize)]
pub struct Figure {
    group: String,
    name: String,
    value: f64,
    unit: String,
    against: String,
    against_value: f64,
    ratio: f64,
    goal: String,
    holds: bool,
}

/// The figures of one group: a line each on standard output, and in
/// `target/bench/NAME.jsonl`, where the name is that of the group or of its part.
#[derive(Debug)]
pub struct Report {
    group: String,
    file: File,
}

impl Report {
    /// Begins the report of `group` anew.
    pub fn new(group: &str) -> Result<Self> {
        let folder = folder()?;
        let path = folder.join(format!("{group}.jsonl"));
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        Ok(Self { group: group.to_owned(), file })
    }

    /// Writes one figure.
    #[expect(clippy::print_stdout, reason = "figures are this program's output")]
    pub fn figure(
        &mut self,
        name: &str,
        (value, unit): (f64, &str),
        (against, against_value): (&str, f64),
        goal: Goal,
    ) -> Result<()> {
        let ratio = value / against_value;
        let (text, holds) = match goal {
            Goal::RatioAtLeast(least) => (format!(">= {least}"), ratio >= least),
            Goal::RatioAtMost(most) => (format!("<= {most}"), ratio <= most),
        };
        let verdict = if holds { "holds" } else { "FALLS SHORT" };
        println!(
            "{name}: {value:.2} {unit}; {against}: {against_value:.2}; ratio {ratio:.3}, goal {text}: {verdict}"
        );
        let figure = Figure {
            group: self.group.clone(),
            name: name.to_owned(),
            value,
            unit: unit.to_owned(),
            against: against.to_owned(),
            against_value,
            ratio,
            goal: text,
            holds,
        };
        serde_json::to_writer(&mut self.file, &figure)?;
        self.file.write_all(b"\n")?;
        Ok(())
    }
}

/// `target/bench`, where figures and the benches' stores lie: on the disk that is measured.
pub fn folder() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// How many MB/s are hashed as the engine does it.
pub(crate) fn hash_rate(bytes: &[u8]) -> Result<f64> {
    rate(bytes.len(), || {
        std::hint::black_box(Digest::of(Algorithm::Sha256, bytes));
        Ok(())
    })
}

/// How many MB/s of so many bytes `work` does.
pub(crate) fn rate(bytes: usize, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(bytes as f64 / 1e6 / begin.elapsed().as_secs_f64())
}
