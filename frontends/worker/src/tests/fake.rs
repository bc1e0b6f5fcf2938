//! A queue as bad as SQS may be, and a pool.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use strongroom_engine::Engine;
use strongroom_identity::profiles;
use strongroom_signup::SignUp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::*;
use crate::aws::AwsError;
use crate::pool::UserPage;
use crate::queue::Received;

/// How long a request for messages waits.
const POLL: Duration = Duration::from_secs(20);
const VISIBILITY: Duration = Duration::from_mins(1);

/// Holds messages as SQS does, and does its worst: gives them in any order, and loses replies.
#[derive(Debug)]
pub(super) struct FakeQueue {
    engine: Engine,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    messages: BTreeMap<u64, Message>,
    dead: Vec<(String, String)>,
    sent: u64,
    calls: u64,
    chance: u64,
    /// Of a hundred calls about so many fail, half of them after they were done.
    faults: u64,
    reorders: bool,
    most_held: usize,
    no_dead_letters: bool,
}

#[derive(Debug)]
struct Message {
    body: String,
    visible_at: Instant,
    receives: u32,
}

impl State {
    /// Some number; the same ones from the same start.
    fn random(&mut self) -> u64 {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.chance >> 33
    }

    /// Whether a call fails, and whether it is done nevertheless.
    fn fault(&mut self) -> (bool, bool) {
        self.calls += 1;
        let fails = self.random() % 100 < self.faults;
        (fails, !fails || self.random().is_multiple_of(2))
    }

    fn held(&self) -> usize {
        let now = Instant::now();
        self.messages.values().filter(|message| message.visible_at > now).count()
    }
}

fn lost() -> AwsError {
    AwsError("the reply is lost".to_owned())
}

impl FakeQueue {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine, state: Mutex::default(), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn send(&self, body: &str) {
        let mut state = self.state();
        state.sent += 1;
        let number = state.sent;
        let message = Message { body: body.to_owned(), visible_at: Instant::now(), receives: 0 };
        state.messages.insert(number, message);
        self.changed.notify_one();
    }

    /// From here on messages come in any order, and so many of a hundred calls fail.
    pub(super) fn misbehave(&self, seed: u64, faults: u64) {
        let mut state = self.state();
        (state.chance, state.faults, state.reorders) = (seed, faults, true);
    }

    pub(super) fn without_dead_letters(&self) {
        self.state().no_dead_letters = true;
    }

    /// Whether nothing is left in it, held or not.
    pub(super) fn is_empty(&self) -> bool {
        self.state().messages.is_empty()
    }

    pub(super) async fn emptied(&self) {
        while !self.is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The dead letters, with their reasons.
    pub(super) fn dead(&self) -> Vec<(String, String)> {
        self.state().dead.clone()
    }

    /// How often each message was received, in the order in which they were sent.
    pub(super) fn receives(&self) -> Vec<u32> {
        self.state().messages.values().map(|message| message.receives).collect()
    }

    /// How many requests there were.
    pub(super) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many messages are held by somebody, and how many were at most.
    pub(super) fn held(&self) -> (usize, usize) {
        let state = self.state();
        (state.held(), state.most_held)
    }

    fn take(&self, most: usize) -> (Vec<Received>, bool) {
        let mut state = self.state();
        let (fails, done) = state.fault();
        if fails && !done {
            return (Vec::new(), true);
        }
        let now = Instant::now();
        let seen = state.messages.iter().filter(|(_, message)| message.visible_at <= now);
        let mut seen: Vec<u64> = seen.map(|(number, _)| *number).collect();
        let mut taken = Vec::new();
        while taken.len() < most && !seen.is_empty() {
            let reorders = state.reorders;
            let count = seen.len() as u64;
            let at = if reorders { state.random() % count } else { 0 };
            let at = usize::try_from(at).unwrap();
            let number = seen.remove(at);
            let message = state.messages.get_mut(&number).unwrap();
            message.visible_at = now + VISIBILITY;
            message.receives += 1;
            taken.push(Received {
                id: number.to_string(),
                receipt: format!("{number}/{}", message.receives),
                body: message.body.clone(),
                receives: message.receives,
            });
        }
        state.most_held = state.held().max(state.most_held);
        (taken, fails)
    }
}

/// Which message a receipt is of, and at which of its receipts it was given.
fn number(message: &Received) -> (u64, u32) {
    let (number, receives) = message.receipt.split_once('/').unwrap();
    (number.parse().unwrap(), receives.parse().unwrap())
}

#[async_trait]
impl Queue for FakeQueue {
    async fn receive(&self, most: usize) -> Result<Vec<Received>, AwsError> {
        assert!((1..=10).contains(&most), "{most}");
        let until = Instant::now() + POLL;
        loop {
            let (taken, fails) = self.take(most);
            if fails {
                return Err(lost());
            }
            if !taken.is_empty() || Instant::now() >= until {
                return Ok(taken);
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    async fn hold(&self, message: &Received, time: Duration) -> Result<(), AwsError> {
        tokio::task::yield_now().await;
        let (number, receives) = number(message);
        let mut state = self.state();
        let (fails, done) = state.fault();
        // An old receipt holds nothing any more.
        if let Some(message) = state.messages.get_mut(&number).filter(|_| done)
            && message.receives == receives
        {
            message.visible_at = Instant::now() + time;
        }
        if fails { Err(lost()) } else { Ok(()) }
    }

    async fn delete(&self, message: &Received) -> Result<(), AwsError> {
        let (number, _) = number(message);
        // Whoever deletes a message has done it, or has it among the dead letters.
        if let Ok(SignUp { sub, .. }) = SignUp::parse(&message.body) {
            let made = profiles::profile(&self.engine, &sub).await;
            let buried = self.dead().iter().any(|(body, _)| *body == message.body);
            assert!(buried || !matches!(made, Ok(None)), "deleted before it was done");
        }
        let mut state = self.state();
        let (fails, done) = state.fault();
        if done {
            state.messages.remove(&number);
        }
        if fails { Err(lost()) } else { Ok(()) }
    }

    fn takes_dead_letters(&self) -> bool {
        !self.state().no_dead_letters
    }

    async fn bury(&self, message: &Received, reason: &str) -> Result<(), AwsError> {
        tokio::task::yield_now().await;
        let mut state = self.state();
        let (fails, done) = state.fault();
        if done {
            state.dead.push((message.body.clone(), reason.to_owned()));
        }
        if fails { Err(lost()) } else { Ok(()) }
    }
}

/// Pages of people; some pages fail.
#[derive(Debug, Default)]
pub(super) struct FakePool(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    all: Vec<UserPage>,
    failing: BTreeSet<usize>,
    asked: Vec<usize>,
    unlisted: BTreeSet<String>,
    asked_for: Vec<String>,
    away: bool,
}

impl FakePool {
    pub(super) fn set(&self, pages: Vec<UserPage>) {
        self.0.lock().unwrap().all = pages;
    }

    /// The next request for this page fails.
    pub(super) fn fail(&self, page: usize) {
        self.0.lock().unwrap().failing.insert(page);
    }

    /// Somebody who is there, though no page has them.
    pub(super) fn leave_out(&self, sub: &str) {
        self.0.lock().unwrap().unlisted.insert(sub.to_owned());
    }

    /// Whether questions for one person fail.
    pub(super) fn knows_nobody_now(&self, away: bool) {
        self.0.lock().unwrap().away = away;
    }

    /// Who was asked for, in order.
    pub(super) fn asked_for(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked_for)
    }

    /// Which pages were asked for, in order.
    pub(super) fn asked(&self) -> Vec<usize> {
        self.0.lock().unwrap().asked.clone()
    }
}

#[async_trait]
impl Pool for FakePool {
    async fn page(&self, after: Option<&str>) -> Result<UserPage, AwsError> {
        tokio::task::yield_now().await;
        let number = after.map_or(0, |after| after.parse().unwrap());
        let mut pages = self.0.lock().unwrap();
        pages.asked.push(number);
        if pages.failing.remove(&number) {
            return Err(lost());
        }
        Ok(pages.all[number].clone())
    }

    async fn knows(&self, sub: &str) -> Result<bool, AwsError> {
        tokio::task::yield_now().await;
        let mut pages = self.0.lock().unwrap();
        pages.asked_for.push(sub.to_owned());
        if pages.away {
            return Err(lost());
        }
        let mut listed = pages.all.iter().flat_map(|page| &page.users);
        Ok(listed.any(|found| found.user.sub == sub) || pages.unlisted.contains(sub))
    }
}
