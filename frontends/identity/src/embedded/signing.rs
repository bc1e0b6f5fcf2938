//! The keys that sign access tokens: made, kept sealed, and rotated.

use std::sync::Arc;
use std::time::Duration;

use strongroom_engine::Error;
use strongroom_engine::access::{Caller, PrincipalId};
use strongroom_engine::audit::SYSTEM;
use strongroom_engine::extension::{Batch, Extension};
use strongroom_engine::seam::{Seams, Timestamp};
use tokio::time::Instant;

use super::records::{self, SigningKey, SigningRecord};
use super::{AccountsError, Embedded, changed};
use crate::record::Damaged;
use crate::seal::{MasterKey, SealError};
use crate::token::{Granted, KeySet, MAX_LIFETIME, TokenError, TokenKey};

/// How long one key signs.
const ROTATION: Duration = Duration::from_hours(24);
/// What the keys are sealed for.
const CONTEXT: &str = "identity/signing";
/// A token of a key that is not known makes this process look for keys that others made, at most so
/// often: anybody can name a key that is not there.
const LOOK_EACH: Duration = Duration::from_secs(1);
/// How often a rotation that lost a race looks again.
const ATTEMPTS: usize = 8;

/// The keys at work; makes a new one where there is none or the newest is old.
pub(super) async fn load(
    records: &Extension,
    seams: &Seams,
    master: &MasterKey,
) -> Result<KeySet, AccountsError> {
    for _ in 0..ATTEMPTS {
        let entry = records.get(records::SIGNING).await?;
        let now = records.now().await?;
        let mut record = match &entry {
            Some(entry) => records::decode::<SigningRecord>(&entry.value)?,
            None => SigningRecord::default(),
        };
        if record.keys.first().is_some_and(|newest| now < newest.created_at.plus(ROTATION)) {
            return open(&record, master);
        }
        record.keys.retain(|key| still_verifies(key, now));
        let key = TokenKey::generate(seams);
        let sealed = master.seal(&*seams.entropy, CONTEXT, key.expose())?;
        let key = SigningKey { id: key.id().to_owned(), sealed, created_at: now };
        record.keys.insert(0, key);
        let batch = Batch::new().put(records::SIGNING, records::encode(&record)).event(changed(
            &system(),
            SYSTEM,
            now,
            "signing key made",
            "system:identity",
        ));
        let batch = match entry {
            Some(entry) => batch.unchanged(records::SIGNING, entry.version),
            None => batch.absent(records::SIGNING),
        };
        match records.commit(batch).await {
            Ok(()) => return open(&record, master),
            // Another process made one just now.
            Err(Error::Contended { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended { what: "the signing keys" }.into())
}

/// A token may have been signed as long as its key was the newest, and lives at most so long.
fn still_verifies(key: &SigningKey, now: Timestamp) -> bool {
    now < key.created_at.plus(2 * ROTATION).plus(MAX_LIFETIME)
}

fn open(record: &SigningRecord, master: &MasterKey) -> Result<KeySet, AccountsError> {
    let mut keys = Vec::new();
    for key in &record.keys {
        let secret = master.open(CONTEXT, &key.sealed)?;
        let secret: [u8; 32] = secret.try_into().map_err(|_| SealError::Wrong)?;
        keys.push(TokenKey::from_parts(key.id.clone(), secret));
    }
    if keys.is_empty() {
        return Err(Damaged { reason: "there is no signing key".to_owned() }.into());
    }
    Ok(KeySet::new(keys.remove(0), keys))
}

/// Who changes keys by itself.
fn system() -> Caller {
    Caller::known(PrincipalId::new("system:identity").expect("it is short and printable"))
}

impl Embedded {
    /// Makes a new signing key where the newest is old, and takes up those that others made: to be
    /// called now and then (each hour does).
    pub async fn rotate_keys(&self) -> Result<(), AccountsError> {
        let keys = load(&self.0.records, &self.0.seams, &self.0.master).await?;
        self.0.access.rotate(keys);
        Ok(())
    }

    /// What `token` says. One whose key is not known may be from another process that shares the
    /// store and has made a new key since this one looked.
    pub(super) async fn verify_access(
        &self,
        token: &str,
    ) -> Result<Result<Arc<Granted>, TokenError>, AccountsError> {
        let answer = self.0.access.verify(token);
        if !matches!(answer, Err(TokenError::UnknownKey)) {
            return Ok(answer);
        }
        let mut looked = self.0.looked.lock().await;
        if looked.is_none_or(|at: Instant| at.elapsed() >= LOOK_EACH) {
            self.rotate_keys().await?;
            *looked = Some(Instant::now());
        }
        Ok(self.0.access.verify(token))
    }
}
