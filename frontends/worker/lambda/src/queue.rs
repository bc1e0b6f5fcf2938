//! The queue that the worker reads.

use std::error::Error;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;

/// The variable that names it.
const VARIABLE: &str = "STRONGROOM_SIGNUPS_QUEUE_URL";
/// Cognito waits five seconds, and starting takes some of them.
const WHOLE: Duration = Duration::from_millis(3500);
const ATTEMPT: Duration = Duration::from_millis(1500);
const CONNECT: Duration = Duration::from_secs(1);
const BACK_OFF: Duration = Duration::from_millis(100);
const ATTEMPTS: u32 = 3;

#[derive(Debug)]
pub(crate) struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// The one that the environment names.
    pub(crate) async fn of_environment() -> Result<Self, String> {
        let url = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| format!("{VARIABLE} is not set: give it the queue's URL"))?;
        let retries =
            RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(BACK_OFF);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(WHOLE)
            .build();
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(retries)
            .timeout_config(timeouts);
        Ok(Self { client: Client::new(&loader.load().await), url })
    }

    /// Sends a text; returns what the queue calls it, or why it did not take it.
    pub(crate) async fn send(&self, text: &str) -> Result<String, String> {
        let request = self.client.send_message().queue_url(&self.url).message_body(text);
        let sent = request.send().await.map_err(|error| {
            let mut told = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                told = format!("{told}: {error}");
                cause = error.source();
            }
            told
        })?;
        Ok(sent.message_id.unwrap_or_default())
    }
}
