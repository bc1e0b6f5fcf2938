//! The queue at SQS: one method for each request.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};

use crate::aws::{self, AwsError};
use crate::metrics;
use crate::queue::{MAX_RECEIVED, Queue, Received};
use crate::settings::Settings;

/// The most of a reason that goes with a dead letter, in characters.
const MAX_REASON: usize = 300;
/// The longest that SQS holds a message, in seconds.
const MAX_HOLD: u64 = 12 * 60 * 60;

#[derive(Debug)]
pub(crate) struct Sqs {
    client: Client,
    url: String,
    dead_letters: Option<String>,
    poll: Duration,
    visibility: Duration,
}

impl Sqs {
    pub(crate) fn new(shared: &SdkConfig, settings: &Settings) -> Self {
        Self {
            client: Client::new(shared),
            url: settings.queue_url.clone(),
            dead_letters: settings.dead_letter_queue_url.clone(),
            poll: settings.poll,
            visibility: settings.visibility,
        }
    }
}

#[async_trait]
impl Queue for Sqs {
    async fn receive(&self, most: usize) -> Result<Vec<Received>, AwsError> {
        let most = i32::try_from(most.clamp(1, MAX_RECEIVED)).unwrap_or(1);
        let time = aws_sdk_sqs::Config::builder().timeout_config(aws::timeouts(self.poll));
        let received = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(most)
            .wait_time_seconds(seconds(self.poll))
            .visibility_timeout(seconds(self.visibility))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .customize()
            .config_override(time)
            .send()
            .await
            .map_err(refused("receive", &self.url))?;
        Ok(received.messages.unwrap_or_default().into_iter().filter_map(read).collect())
    }

    async fn hold(&self, message: &Received, time: Duration) -> Result<(), AwsError> {
        let request = self.client.change_message_visibility().queue_url(&self.url);
        let request =
            request.receipt_handle(&message.receipt).visibility_timeout(seconds(time)).send();
        request.await.map_err(refused("hold", &self.url)).map(drop)
    }

    async fn delete(&self, message: &Received) -> Result<(), AwsError> {
        let request = self.client.delete_message().queue_url(&self.url);
        let request = request.receipt_handle(&message.receipt).send();
        request.await.map_err(refused("delete", &self.url)).map(drop)
    }

    fn takes_dead_letters(&self) -> bool {
        self.dead_letters.is_some()
    }

    async fn bury(&self, message: &Received, reason: &str) -> Result<(), AwsError> {
        let Some(url) = &self.dead_letters else {
            return Err(AwsError("there is no queue of dead letters".to_owned()));
        };
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect();
        let facts = [
            ("reason", reason),
            ("message_id", message.id.clone()),
            ("receives", message.receives.to_string()),
        ];
        let mut request = self.client.send_message().queue_url(url).message_body(&message.body);
        for (name, value) in facts {
            let value = MessageAttributeValue::builder().data_type("String").string_value(value);
            let value = value.build().map_err(|error| AwsError(error.to_string()))?;
            request = request.message_attributes(name, value);
        }
        request.send().await.map_err(refused("bury", url)).map(drop)
    }
}

/// What the SDK's error of a request to the queue at `url` means; counts it.
fn refused<E>(call: &'static str, url: &str) -> impl FnOnce(SdkError<E, HttpResponse>) -> AwsError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let whom = format!("queue {url}");
    move |error| {
        metrics::queue_failed(call);
        aws::refused(call, &whom, &error)
    }
}

/// What has no receipt can't be dealt with, and comes again with one.
fn read(message: Message) -> Option<Received> {
    let receives = message
        .attributes()
        .and_then(|facts| facts.get(&MessageSystemAttributeName::ApproximateReceiveCount))
        .and_then(|count| count.parse().ok());
    Some(Received {
        id: message.message_id.unwrap_or_default(),
        receipt: message.receipt_handle?,
        body: message.body.unwrap_or_default(),
        receives: receives.unwrap_or(1),
    })
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs().min(MAX_HOLD)).unwrap_or_default()
}
