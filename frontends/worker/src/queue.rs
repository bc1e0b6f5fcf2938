//! The queue of sign-ups, as the loop needs it: the seam at which tests lose replies, double and reorder.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::aws::AwsError;

/// The most messages that one request receives.
pub(crate) const MAX_RECEIVED: usize = 10;

/// A message that is held until its time is over.
#[derive(Clone)]
pub(crate) struct Received {
    /// What the queue calls it, for the log.
    pub(crate) id: String,
    /// What this holding of it is called.
    pub(crate) receipt: String,
    pub(crate) body: String,
    /// How often it was received, this time included.
    pub(crate) receives: u32,
}

/// Its text is a person's.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("id", &self.id)
            .field("receives", &self.receives)
            .finish_non_exhaustive()
    }
}

/// A queue whose messages come at least once, in any order.
#[async_trait]
pub(crate) trait Queue: Send + Sync + fmt::Debug {
    /// Waits for messages, a while, and takes hold of at most `most`, which is 1 to [`MAX_RECEIVED`]. Where
    /// this is dropped or its reply is lost, what it took hold of comes again later.
    async fn receive(&self, most: usize) -> Result<Vec<Received>, AwsError>;

    /// Holds a message for so long from now; zero gives it back at once.
    async fn hold(&self, message: &Received, time: Duration) -> Result<(), AwsError>;

    /// Deletes a message for good. It may have to be done again where the reply is lost.
    async fn delete(&self, message: &Received) -> Result<(), AwsError>;

    /// Whether there is a queue for dead letters.
    fn takes_dead_letters(&self) -> bool;

    /// Puts a copy of a message to the dead letters, with the reason.
    async fn bury(&self, message: &Received, reason: &str) -> Result<(), AwsError>;
}
