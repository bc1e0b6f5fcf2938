//! Which of several processes sends.

use std::time::Duration;

use strongroom_engine::Error;
use strongroom_engine::extension::{Batch, Extension};
use strongroom_engine::seam::Seams;
use tokio::time::Instant;

use crate::error::WebhookError;
use crate::records::{self, Lease, SENDER};

/// How long a process that was killed keeps others from going on.
const LEASE: Duration = Duration::from_secs(20);

/// A process that sends, or would.
#[derive(Debug)]
pub(super) struct Holder {
    name: String,
    /// When the lease is to be renewed; none where it is another's.
    renew_at: Option<Instant>,
}

impl Holder {
    pub(super) fn new(seams: &Seams) -> Self {
        Self { name: format!("{:016x}", seams.random_u64()), renew_at: None }
    }

    /// Takes the lease, or keeps it; false where another has it.
    pub(super) async fn hold(&mut self, records: &Extension) -> Result<bool, WebhookError> {
        if self.renew_at.is_some_and(|moment| Instant::now() < moment) {
            return Ok(true);
        }
        self.renew_at = None;
        let now = records.now().await?;
        let entry = records.get(SENDER).await?;
        let batch = match entry {
            None => Batch::new().absent(SENDER),
            Some(entry) => {
                // What can't be read holds nothing.
                let lease = records::decode::<Lease>(&entry.value).ok();
                let held =
                    lease.is_some_and(|lease| lease.holder != self.name && now < lease.until);
                if held {
                    return Ok(false);
                }
                Batch::new().unchanged(SENDER, entry.version)
            }
        };
        let lease = Lease { holder: self.name.clone(), until: now.plus(LEASE) };
        let batch = batch.put(SENDER, records::encode(&lease)).bookkeeping();
        match records.commit(batch).await {
            Ok(()) => {
                self.renew_at = Some(Instant::now() + LEASE / 3);
                Ok(true)
            }
            Err(Error::Contended { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the lease back, so that another goes on at once.
    pub(super) async fn release(&self, records: &Extension) -> Result<(), WebhookError> {
        let Some(entry) = records.get(SENDER).await? else { return Ok(()) };
        if records::decode::<Lease>(&entry.value)?.holder != self.name {
            return Ok(());
        }
        let batch = Batch::new().unchanged(SENDER, entry.version).delete(SENDER).bookkeeping();
        match records.commit(batch).await {
            // Another took it this moment.
            Ok(()) | Err(Error::Contended { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
