//! What an operator sees of the sign-ups. No label has text of a person in it.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const MESSAGES: &str = "strongroom_signup_messages_total";
const DURATION: &str = "strongroom_signup_message_seconds";
const HELD: &str = "strongroom_signup_messages_held";
const WAITING: &str = "strongroom_signup_messages_waiting";
const QUEUE_FAILURES: &str = "strongroom_signup_queue_failures_total";
const RECONCILIATIONS: &str = "strongroom_signup_reconciliations_total";
const RECONCILED: &str = "strongroom_signup_reconciled_users_total";

pub(crate) fn describe() {
    describe_counter!(MESSAGES, "Messages of sign-ups, by what came of them");
    describe_histogram!(DURATION, "From a message's receipt to its end here");
    describe_gauge!(HELD, "Messages that are being worked on");
    describe_gauge!(WAITING, "Of these, those that wait because the metadata are away");
    describe_counter!(QUEUE_FAILURES, "Requests to the queue that failed for good, by their kind");
    describe_counter!(RECONCILIATIONS, "Walks through the user pool, by how they ended");
    describe_counter!(RECONCILED, "People met on these walks, by what came of it");
}

/// What came of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What it asks for is there.
    Done,
    /// It is a dead letter.
    Buried,
    /// It was given back, to be tried again.
    Returned,
    /// It could be neither: the queue will bring it again.
    Left,
}

pub(crate) fn ended(outcome: Outcome, took: Duration) {
    let outcome = match outcome {
        Outcome::Done => "done",
        Outcome::Buried => "buried",
        Outcome::Returned => "returned",
        Outcome::Left => "left",
    };
    counter!(MESSAGES, "outcome" => outcome).increment(1);
    histogram!(DURATION).record(took);
}

/// Counts one up in a gauge until it is dropped.
pub(crate) struct Counted(&'static str);

impl Counted {
    pub(crate) fn held() -> Self {
        Self::of(HELD)
    }

    pub(crate) fn waiting() -> Self {
        Self::of(WAITING)
    }

    fn of(name: &'static str) -> Self {
        gauge!(name).increment(1.0);
        Self(name)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        gauge!(self.0).decrement(1.0);
    }
}

pub(crate) fn queue_failed(call: &'static str) {
    counter!(QUEUE_FAILURES, "call" => call).increment(1);
}

/// A walk that saw all of the pool, or broke off.
pub(crate) fn reconciled(whole: bool) {
    counter!(RECONCILIATIONS, "outcome" => if whole { "whole" } else { "failed" }).increment(1);
}

/// Somebody who has a profile now, is not to have one, or could not be given one.
pub(crate) fn met(outcome: &'static str) {
    counter!(RECONCILED, "outcome" => outcome).increment(1);
}
