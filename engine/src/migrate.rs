//! The version of the store, and how an older one becomes this program's.
//!
//! The row `!format` says it. Each step of [`STEPS`] brings a store from one version to the next: it
//! does its work, which may take many commits and may be done again from any point of it, and then
//! one commit, which requires the version it began from, says the next. So a kill costs the step,
//! two processes at once do no harm, and a program that is older than what it meets refuses it.
//!
//! A step changes rows in place, so there is no way back: whoever keeps a copy of the metadata takes
//! it before the first start of a newer program (the registry does, in its folder). Objects are
//! never changed by a step.
//!
//! What makes a new version: whatever an older program would read wrong, or harm. A record of a new
//! version alone does not where `decode` reads the old one too and old programs merely fail.

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::change::{Attempt, Change, Seen};
use crate::core::Core;
use crate::epoch;
use crate::error::Error;
use crate::keys;
use crate::records::FormatRecord;

/// The version of the store that this program reads and writes. An older one is migrated when an
/// engine is built over it; a newer one is refused.
pub const FORMAT_VERSION: u32 = 2;

/// From one version to the next.
struct Step {
    from: u32,
    work: for<'a> fn(&'a Core) -> BoxFuture<'a, Result<(), Error>>,
}

const STEPS: &[Step] = &[
    // Rows `!copy` and `!epoch`, and their objects, which the sweep of an older program would take for
    // garbage. Copies are made by the collections from then on.
    Step { from: 1, work: |core| epoch::advance(core).map(|done| done.map(drop)).boxed() },
];

/// Makes a new store, brings an older one to this program's version, and refuses what it does not
/// know.
pub(crate) async fn migrate(core: &Core) -> Result<(), Error> {
    loop {
        let seen: Seen<FormatRecord> = core.read(keys::FORMAT.to_vec()).await?;
        let next = match &seen.value {
            Some(format) if format.version == FORMAT_VERSION => return Ok(()),
            Some(format) => {
                let step = STEPS.iter().find(|step| step.from == format.version);
                let step = step.ok_or_else(|| unknown(format.version))?;
                tracing::info!(from = step.from, to = step.from + 1, "the store is migrated");
                (step.work)(core).await?;
                FormatRecord { version: step.from + 1, ..format.clone() }
            }
            None => FormatRecord { version: FORMAT_VERSION, created_at: core.now().await? },
        };
        let mut change = Change::new(core);
        change.replace(&seen, &next);
        match change.commit().await {
            // Lost: another process did it just now, perhaps with a version of its own.
            Ok(()) | Err(Attempt::Lost) => {}
            Err(Attempt::Failed(error)) => return Err(error),
        }
    }
}

fn unknown(version: u32) -> Error {
    Error::Invalid(format!(
        "the store has format {version}, this program knows {FORMAT_VERSION}: run the Strongroom that \
         wrote it, or a newer one"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_lead_from_the_first_version_to_this_one_without_a_gap() {
        let from: Vec<_> = STEPS.iter().map(|step| step.from).collect();
        assert_eq!(from, (1..FORMAT_VERSION).collect::<Vec<_>>());
    }
}
