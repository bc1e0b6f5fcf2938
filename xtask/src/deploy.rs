//! What `deploy/` has: the unit passes systemd's own check, and the container file a linter's.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace::{self, root};
use crate::{run, tools};

/// Where the unit expects the program, which is not installed where this runs.
const PROGRAM: &str = "/usr/bin/strongroom";

/// Checks both.
pub fn check() -> Result<()> {
    let folder = root().join("deploy");
    let unit = verify_unit(&folder.join("strongroom.service"));
    let image = run::show(Command::new(tools::hadolint()?).arg(folder.join("Containerfile")));
    unit.and(image)
}

/// systemd looks at the program too, so the unit is checked with one that is there.
fn verify_unit(unit: &Path) -> Result<()> {
    let text = std::fs::read_to_string(unit).with_context(|| unit.display().to_string())?;
    ensure!(text.contains(PROGRAM), "the unit does not start {PROGRAM}");
    let folder = workspace::target()?.join("deploy");
    std::fs::create_dir_all(&folder)?;
    let copy = folder.join("strongroom.service");
    std::fs::write(&copy, text.replace(PROGRAM, "/bin/true"))?;
    let said =
        run::output_and_errors(Command::new(tools::systemd_analyze()?).arg("verify").arg(&copy))?;
    // A setting that it does not know is a warning to it, and to us a mistake.
    ensure!(said.trim().is_empty(), "systemd says of the unit: {said}");
    Ok(())
}
