//! The copies of small manifests: those that are said to be there are.

use super::{Check, Invariant};
use crate::error::Error;
use crate::gc::fsck::look_at;
use crate::gc::walk::Pages;
use crate::keys;
use crate::meta::{Row, prefix_range};
use crate::records::{CopyRecord, Record};

impl Check<'_> {
    pub(super) async fn copies(&mut self) -> Result<(), Error> {
        let mut pages = Pages::new(self.view, prefix_range(&keys::all_copies()));
        loop {
            let rows = pages.next().await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in &rows {
                self.copy(row).await?;
            }
            self.progress("copies");
        }
    }

    async fn copy(&mut self, row: &Row) -> Result<(), Error> {
        self.report.counts.rows += 1;
        let (key, value) = row;
        let Some((organisation, digest)) = keys::parse_copy(key) else {
            let what = format!("row {} names no copy", const_hex::encode(key));
            self.find(Invariant::I6, None, what);
            return Ok(());
        };
        let Some(copy) = self.decode::<CopyRecord>(Invariant::I1, organisation, row) else {
            return Ok(());
        };
        if !copy.stored {
            return Ok(());
        }
        self.report.counts.copies.add(copy.size);
        let object = copy.object(organisation, &digest);
        let look = look_at(self.core, &object, copy.size, &digest, self.deep).await;
        let Some(problem) = look.problem() else { return Ok(()) };
        // One that was removed meanwhile is removed with its row.
        if self.core.meta.get(key).await?.as_ref() == Some(value) {
            let what = format!("the copy {object} of manifest {digest} {problem}");
            self.find(Invariant::I1, Some(organisation), what);
        }
        Ok(())
    }

    /// Whether the copy of a small manifest is in the bucket, as the rows say.
    pub(super) async fn is_copied(
        &self,
        organisation: crate::id::OrganisationId,
        digest: &crate::digest::Digest,
    ) -> Result<bool, Error> {
        let row = self.view.get(&keys::copy(organisation, digest)).await?;
        Ok(row.and_then(|row| CopyRecord::decode(&row).ok()).is_some_and(|copy| copy.stored))
    }
}
