//! What an operator sees of the deliveries. No label has text of a tenant in it.

use metrics::{counter, describe_counter, describe_histogram, histogram};

use crate::send::Answer;

const DELIVERIES: &str = "strongroom_webhook_deliveries_total";
const DURATION: &str = "strongroom_webhook_delivery_seconds";
const DISABLED: &str = "strongroom_webhooks_disabled_total";

pub(crate) fn describe() {
    describe_counter!(DELIVERIES, "Attempts to deliver an event, by what came of them");
    describe_histogram!(DURATION, "How long an attempt took");
    describe_counter!(DISABLED, "Webhooks that were switched off because they failed for too long");
}

pub(crate) fn attempted(answer: Answer, took: std::time::Duration) {
    counter!(DELIVERIES, "outcome" => answer.label()).increment(1);
    histogram!(DURATION).record(took);
}

pub(crate) fn disabled() {
    counter!(DISABLED).increment(1);
}
