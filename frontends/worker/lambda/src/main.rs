//! The Lambda that hears from the user pool who confirmed their sign-up, and tells the queue.
//!
//! **Promises.** Cognito gets its event back as it was, within the five seconds that it waits, so nobody is kept
//! from a sign-up that the pool has confirmed: where the queue is away that stands in the log as an error, and
//! the walk through the pool or the person's first sign-in makes up for it. An event that is none of a
//! confirmation is refused, so that a trigger in the wrong place is found at its first use.
//!
//! **Never.** It writes a name or an address to the log.
//!
//! `STRONGROOM_SIGNUPS_QUEUE_URL` names the queue; region and credentials are those of the function.

#![forbid(unsafe_code)]

mod confirmation;
mod queue;

use std::time::{Duration, SystemTime};

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::Value;

use crate::confirmation::{Heard, hear};
use crate::queue::Queue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    tracing_subscriber::fmt()
        .json()
        // Lambda gives each line its time.
        .without_time()
        .with_max_level(tracing::Level::INFO)
        .init();
    let queue = &Queue::of_environment().await?;
    let handle = |event: LambdaEvent<Value>| async move {
        tell(queue, &event.payload, &event.context.request_id, now()).await?;
        Ok::<_, Diagnostic>(event.payload)
    };
    lambda_runtime::run(service_fn(handle)).await
}

/// Tells the queue what the event is about, where that is a sign-up.
async fn tell(queue: &Queue, event: &Value, request: &str, now: u64) -> Result<(), Diagnostic> {
    let heard = hear(event, request, now).map_err(|error| {
        tracing::error!(request, %error, "an event is refused");
        // Cognito shows the message to the person: `PostConfirmation failed with error …`.
        Diagnostic { error_type: "NoConfirmation".to_owned(), error_message: error.to_string() }
    })?;
    match heard {
        Heard::SignUp(message) => match queue.send(&message.to_text()).await {
            Ok(id) => tracing::info!(request, sub = message.sub, id, "sign-up sent"),
            Err(error) => tracing::error!(request, sub = message.sub, error, "sign-up not sent"),
        },
        Heard::Other(source) => tracing::info!(request, source, "nothing to tell"),
    }
    Ok(())
}

/// Milliseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no engine here whose seam it could come through"
)]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or(Duration::ZERO).as_millis()).unwrap_or(u64::MAX)
}
