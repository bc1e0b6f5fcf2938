//! A hook's turn: a page of the trail, its events offered, and the place written.
//!
//! Within a page the events of one repository go one after the other, those of several side by side. What
//! was taken of a page that is not through is written down, so that it is not sent again; a kill in between
//! makes it be sent again, never left out.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use strongroom_engine::Error;
use strongroom_engine::access::{Caller, PrincipalId};
use strongroom_engine::audit::{EventKind, TrailLine};
use strongroom_engine::extension::Batch;
use strongroom_engine::id::{ChainId, RepositoryId};
use strongroom_engine::seam::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Place;
use crate::error::WebhookError;
use crate::event::{Message, registry_of};
use crate::hooks::{SeenHooks, Shared, Webhooks};
use crate::metrics;
use crate::records::{self, Delivery, HookRecord, Recent, State};
use crate::schedule::wait;
use crate::send::Attempt;

/// The lines of one page: what may be sent again after a kill.
const PAGE: usize = 64;
/// The repositories whose events go side by side.
const LANES: usize = 4;
/// The deliveries of a hook that are kept.
const KEPT: usize = 50;
/// How long a turn that the store broke off waits.
const STORE_WAIT: Duration = Duration::from_secs(5);

/// How a hook's turns ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// There is nothing to deliver.
    Idle,
    /// It is to be tried again then.
    Waits(Duration),
    /// It is off, or not there any more.
    Gone,
}

/// How one page ended.
enum Page {
    More,
    Ended(Ended),
}

/// What came of an event.
struct Offered {
    line: (ChainId, u64),
    delivery: Delivery,
    attempt: Attempt,
}

impl Webhooks {
    /// Delivers what a hook has to get, page by page.
    pub(crate) async fn turns(
        &self,
        place: Place,
        permits: &Semaphore,
        stop: &CancellationToken,
    ) -> Ended {
        loop {
            // One page, and then whoever waits: a hook with much to tell keeps none from telling.
            let permit = tokio::select! {
                () = stop.cancelled() => return Ended::Idle,
                permit = permits.acquire() => permit,
            };
            if permit.is_err() {
                return Ended::Idle;
            }
            match self.page(place, stop).await {
                Ok(Page::More) => {}
                Ok(Page::Ended(ended)) => return ended,
                // The next turn reads again.
                Err(WebhookError::Engine(Error::Contended { .. })) => return Ended::Idle,
                Err(error) => {
                    tracing::warn!(hook = %place.hook, %error, "a webhook's turn broke off");
                    return Ended::Waits(STORE_WAIT);
                }
            }
        }
    }

    async fn page(&self, place: Place, stop: &CancellationToken) -> Result<Page, WebhookError> {
        let shared = &*self.0;
        let mut seen = shared.hooks(place.organisation, place.registry).await?;
        let record = seen.hook(place.hook).ok().filter(|record| record.enabled).cloned();
        let (Some(record), Some((state, version))) = (record, shared.state(place.hook).await?)
        else {
            return Ok(Page::Ended(Ended::Gone));
        };
        let now = shared.records.now().await?;
        if now < state.next_at {
            return Ok(Page::Ended(Ended::Waits(state.next_at.since(now))));
        }
        let page = shared.engine.follow(place.organisation, Some(&state.cursor), PAGE).await?;
        if page.items.iter().any(|line| ends(place, &line.event.kind)) {
            shared.end(seen, place).await?;
            return Ok(Page::Ended(Ended::Gone));
        }
        let last = page.items.len() < PAGE;
        let due: Vec<&TrailLine> = page
            .items
            .iter()
            .filter(|line| is_for(place, &record, line))
            .filter(|line| !state.taken.contains(&(line.chain, line.sequence)))
            .collect();
        let wanted = due.len();
        // Hooks stay with a registry that has another name now.
        let named = shared.engine.names_of(place.organisation, seen.row.registry).await?;
        let source = match named {
            Some((organisation, registry)) => records::source(&organisation, &registry),
            None => seen.row.source.clone(),
        };
        let offered = shared.offer(&record, &source, due, stop).await?;
        let failed = offered.iter().find(|offered| !offered.attempt.answer.is_taken());
        let through = failed.is_none() && offered.len() == wanted;
        let now = shared.records.now().await?;
        let mut next = state.clone();
        if through {
            next.cursor = page.next.unwrap_or(next.cursor);
            next.taken.clear();
        } else {
            let taken = offered.iter().filter(|offered| offered.attempt.answer.is_taken());
            next.taken.extend(taken.map(|offered| offered.line));
        }
        if let Some(failed) = failed {
            next.failures = next.failures.saturating_add(1);
            next.failing_since = next.failing_since.or(Some(now));
            let asked = failed.attempt.retry_after;
            let wait = wait(&shared.settings, &shared.seams, next.failures, asked);
            next.next_at = now.plus(wait);
        } else if !offered.is_empty() {
            (next.failures, next.failing_since, next.taken_at) = (0, None, Some(now));
        }
        if next != state {
            let mut batch = Batch::new()
                .unchanged(records::state(record.id), version)
                .put(records::state(record.id), records::encode(&next));
            if !offered.is_empty() {
                let recent = shared.recent(&record, &offered).await?;
                batch = batch.put(records::recent(record.id), records::encode(&recent));
            }
            shared.records.commit(batch.bookkeeping()).await?;
        }
        let Some(failed) = failed else {
            let more = through && !last && !stop.is_cancelled();
            return Ok(if more { Page::More } else { Page::Ended(Ended::Idle) });
        };
        if let Some(reason) = shared.given_up(&next, failed, now) {
            shared.switch_off(seen, place, reason, now).await?;
            return Ok(Page::Ended(Ended::Gone));
        }
        Ok(Page::Ended(Ended::Waits(next.next_at.since(now))))
    }
}

impl Shared {
    /// Offers events: those of a repository in their order, until one of them is not taken.
    async fn offer(
        &self,
        record: &HookRecord,
        source: &str,
        due: Vec<&TrailLine>,
        stop: &CancellationToken,
    ) -> Result<Vec<Offered>, WebhookError> {
        let mut lanes: Vec<(Option<RepositoryId>, Vec<&TrailLine>)> = Vec::new();
        for line in due {
            let repository = line.event.kind.repository().map(|repository| repository.id);
            match lanes.iter_mut().find(|(lane, _)| *lane == repository) {
                Some((_, lines)) => lines.push(line),
                None => lanes.push((repository, vec![line])),
            }
        }
        let lanes = lanes.into_iter().map(|(_, lines)| self.lane(record, source, lines, stop));
        // Boxed: the compiler can't show that a stream of borrowing futures may move between threads.
        let lanes: Vec<futures::future::BoxFuture<'_, _>> =
            lanes.map(futures::FutureExt::boxed).collect();
        let ended: Vec<Result<Vec<Offered>, WebhookError>> =
            stream::iter(lanes).buffer_unordered(LANES).collect().await;
        let mut offered = Vec::new();
        for lane in ended {
            offered.extend(lane?);
        }
        Ok(offered)
    }

    async fn lane(
        &self,
        record: &HookRecord,
        source: &str,
        lines: Vec<&TrailLine>,
        stop: &CancellationToken,
    ) -> Result<Vec<Offered>, WebhookError> {
        let mut offered = Vec::new();
        for line in lines {
            if stop.is_cancelled() {
                break;
            }
            let message = Message::of_line(line, source);
            let now = self.records.now().await?;
            let (delivery, attempt) = self.deliver(record, &message, now).await?;
            offered.push(Offered { line: (line.chain, line.sequence), delivery, attempt });
            if !attempt.answer.is_taken() {
                break;
            }
        }
        Ok(offered)
    }

    /// Offers one event once.
    pub(crate) async fn deliver(
        &self,
        record: &HookRecord,
        message: &Message,
        now: Timestamp,
    ) -> Result<(Delivery, Attempt), WebhookError> {
        let keys = self.keys(record, now)?;
        let attempt = self.sender.send(&record.target, &keys, message, now).await;
        let delivery = Delivery {
            event: message.id.as_str().to_owned(),
            kind: message.kind.clone(),
            at: now,
            answer: attempt.answer,
            took_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        };
        Ok((delivery, attempt))
    }

    /// The deliveries to keep, with the new ones before the others.
    async fn recent(
        &self,
        record: &HookRecord,
        offered: &[Offered],
    ) -> Result<Recent, WebhookError> {
        let kept = self.records.get(records::recent(record.id)).await?;
        // What can't be read is only what is shown.
        let kept: Recent =
            kept.and_then(|entry| records::decode(&entry.value).ok()).unwrap_or_default();
        let new = offered.iter().rev().map(|offered| offered.delivery.clone());
        Ok(Recent { deliveries: new.chain(kept.deliveries).take(KEPT).collect() })
    }

    /// Why a hook is not tried any more.
    fn given_up(&self, state: &State, failed: &Offered, now: Timestamp) -> Option<String> {
        if failed.attempt.answer.is_gone() {
            return Some("its receiver answered 410: it wants no more".to_owned());
        }
        let since = state.failing_since?;
        let long = state.failures >= self.settings.attempts
            && now.since(since) >= self.settings.disable_after;
        long.then(|| {
            let answer = failed.attempt.answer;
            format!("it failed {} times on end; the last time it {answer}", state.failures)
        })
    }

    /// Switches a hook off, with a line. Where somebody changed it this moment, that counts.
    async fn switch_off(
        &self,
        mut seen: SeenHooks,
        place: Place,
        reason: String,
        now: Timestamp,
    ) -> Result<(), WebhookError> {
        let record = seen.hook(place.hook)?;
        record.enabled = false;
        record.disabled_because = Some(reason.clone());
        let what = format!("webhook {} switched off: {reason}", place.hook);
        if self.write(&seen, &own(), what, now, Batch::new()).await? {
            metrics::disabled();
            tracing::warn!(hook = %place.hook, %reason, "a webhook was switched off");
        }
        Ok(())
    }

    /// Removes a hook whose registry is gone.
    async fn end(&self, mut seen: SeenHooks, place: Place) -> Result<(), WebhookError> {
        seen.row.hooks.retain(|record| record.id != place.hook);
        let what = format!("webhook {} ended with its registry", place.hook);
        let now = self.records.now().await?;
        let batch =
            Batch::new().delete(records::state(place.hook)).delete(records::recent(place.hook));
        self.write(&seen, &own(), what, now, batch).await.map(drop)
    }
}

/// Whom the trail names where we did it ourselves.
fn own() -> Caller {
    Caller::known(PrincipalId::new("system:webhooks").expect("it is short and printable"))
}

/// Whether a hook's registry ended by this.
fn ends(place: Place, kind: &EventKind) -> bool {
    match kind {
        EventKind::RegistryDeleted { registry, .. } => *registry == place.registry,
        EventKind::OrganisationDeleted { .. } => true,
        _ => false,
    }
}

/// Whether a hook gets an event.
fn is_for(place: Place, record: &HookRecord, line: &TrailLine) -> bool {
    let kind = &line.event.kind;
    registry_of(kind) == Some(place.registry) && record.kinds.iter().any(|k| k == kind.name())
}
