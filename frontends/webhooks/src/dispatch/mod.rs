//! Who sends when: one process of those that share the store, each hook in its turn.
//!
//! The process holds a lease. One that stalls and wakes up late may send an event a second time, but
//! writes no place of a hook over another's: each such commit requires the place it read. A turn begins
//! when something happened in the hook's organisation, when the hook was changed, when its wait is over,
//! and at each look for what other processes wrote.

mod lease;
mod turn;

use std::collections::{HashMap, HashSet};

use strongroom_engine::audit::Event;
use strongroom_engine::id::{OrganisationId, RegistryId};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::error::WebhookError;
use crate::hooks::{HookId, Webhooks};
use crate::records::{self, HOOKS, RegistryHooks};
use lease::Holder;
pub(crate) use turn::Ended;

/// Where a hook is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    organisation: OrganisationId,
    registry: RegistryId,
    hook: HookId,
}

#[cfg(test)]
impl Place {
    pub(crate) fn is_of(&self, hook: HookId) -> bool {
        self.hook == hook
    }
}

/// What the loop knows of a hook.
#[derive(Debug)]
struct Known {
    place: Place,
    running: bool,
    /// Something happened while its turn ran.
    again: bool,
    /// It waits until then, unless it is changed.
    not_before: Option<Instant>,
}

/// The turns under way: at most `concurrency` of them send.
struct Turns {
    hooks: HashMap<HookId, Known>,
    running: JoinSet<(HookId, Ended)>,
    permits: std::sync::Arc<Semaphore>,
    stop: CancellationToken,
}

impl Webhooks {
    /// Delivers, until `stop`; then ends what is under way between two events. What goes wrong is in the
    /// log, and tried again.
    pub async fn run(&self, stop: CancellationToken) {
        let shared = &*self.0;
        let mut events = shared.engine.subscribe();
        let mut look = interval(shared.settings.poll);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut holder = Holder::new(&shared.seams);
        let mut turns = Turns {
            hooks: HashMap::new(),
            running: JoinSet::new(),
            permits: std::sync::Arc::new(Semaphore::new(shared.settings.concurrency.max(1))),
            stop: stop.child_token(),
        };
        loop {
            let wake = tokio::select! {
                () = stop.cancelled() => break,
                _ = look.tick() => Wake::Look,
                () = shared.changed.notified() => Wake::Changed,
                event = events.recv() => match event {
                    Ok(event) => Wake::Event(event),
                    Err(RecvError::Lagged(_)) => Wake::Look,
                    // The engine is held here, so its sender is there; in any case the looks go on.
                    Err(RecvError::Closed) => std::future::pending().await,
                },
                Some(ended) = turns.running.join_next(), if !turns.running.is_empty() => {
                    if let Ok((hook, ended)) = ended {
                        turns.ended(self, hook, ended);
                    } else {
                        tracing::error!("a webhook's turn broke");
                        turns.hooks.clear();
                    }
                    continue;
                }
            };
            if let Err(error) = self.woken(&mut turns, &mut holder, wake).await {
                tracing::warn!(%error, "webhooks wait: their records can't be read now");
            }
        }
        turns.stop.cancel();
        while turns.running.join_next().await.is_some() {}
        if let Err(error) = holder.release(&shared.records).await {
            tracing::warn!(%error, "another process sends webhooks only once this one's lease is over");
        }
    }

    async fn woken(
        &self,
        turns: &mut Turns,
        holder: &mut Holder,
        wake: Wake,
    ) -> Result<(), WebhookError> {
        let shared = &*self.0;
        if let Wake::Event(event) = &wake {
            turns.start(self, |known| known.place.organisation == event.organisation);
            return Ok(());
        }
        let places = self.places().await?;
        // Where nobody has a hook, nobody needs a lease.
        let ours = !places.is_empty() && holder.hold(&shared.records).await?;
        let places = if ours { places } else { Vec::new() };
        turns.know(&places, matches!(wake, Wake::Changed));
        turns.start(self, |_| true);
        Ok(())
    }

    /// All hooks that are on.
    pub(crate) async fn places(&self) -> Result<Vec<Place>, WebhookError> {
        const PAGE: usize = 500;
        let mut places = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.0.records.scan(HOOKS, after.as_deref(), PAGE).await?;
            for entry in page.items {
                let RegistryHooks { organisation, registry, hooks, .. } =
                    records::decode(&entry.value)?;
                let on = hooks.iter().filter(|record| record.enabled);
                places.extend(on.map(|record| Place { organisation, registry, hook: record.id }));
            }
            after = page.next;
            if after.is_none() {
                return Ok(places);
            }
        }
    }
}

/// Why the loop looks up.
enum Wake {
    Look,
    Changed,
    Event(std::sync::Arc<Event>),
}

impl Turns {
    /// Takes over which hooks there are. A hook that runs is let to its end.
    fn know(&mut self, places: &[Place], changed: bool) {
        let there: HashSet<HookId> = places.iter().map(|place| place.hook).collect();
        self.hooks.retain(|id, known| known.running || there.contains(id));
        for place in places {
            let known = self.hooks.entry(place.hook).or_insert(Known {
                place: *place,
                running: false,
                again: false,
                not_before: None,
            });
            if changed {
                known.not_before = None;
            }
        }
    }

    fn start(&mut self, webhooks: &Webhooks, which: impl Fn(&Known) -> bool) {
        let now = Instant::now();
        for (id, known) in self.hooks.iter_mut().filter(|(_, known)| which(known)) {
            if known.running {
                known.again = true;
            } else if known.not_before.is_none_or(|moment| moment <= now) {
                known.running = true;
                let (webhooks, id, place) = (webhooks.clone(), *id, known.place);
                let (permits, stop) = (self.permits.clone(), self.stop.clone());
                self.running
                    .spawn(async move { (id, webhooks.turns(place, &permits, &stop).await) });
            }
        }
    }

    fn ended(&mut self, webhooks: &Webhooks, hook: HookId, ended: Ended) {
        let Some(known) = self.hooks.get_mut(&hook) else { return };
        known.running = false;
        known.not_before = match ended {
            Ended::Idle => None,
            Ended::Waits(wait) => Some(Instant::now() + wait),
            Ended::Gone => {
                self.hooks.remove(&hook);
                return;
            }
        };
        if std::mem::take(&mut known.again) {
            self.start(webhooks, |known| known.place.hook == hook);
        }
    }
}
