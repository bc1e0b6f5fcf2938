//! Crash images: whatever a power loss leaves, nothing that was acknowledged is lost.
//!
//! Each workflow runs over a simulated disk that logs every effect, on objects and on the database
//! alike. Then, for every prefix of that log and for many choices of what was not yet synced, the
//! store is opened on what such a crash leaves and examined (`examine`): what was acknowledged is
//! there with the right bytes, what was under way is whole or absent, uploads go on from where they
//! were said to be, lists, counters and trail are exact, `fsck` finds nothing,
//! collection removes the rest, and the store goes on.
//!
//! - `STRONGROOM_LONG=1` makes ten times as many images;
//! - `STRONGROOM_CRASH="WORKFLOW/PREFIX/VARIANT"`, as a failure prints it, makes that one alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

mod client;
mod examine;
mod look;
mod promise;
mod workflows;
mod world;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use strongroom_engine::disk::sim::{Keep, SimDisk};

use crate::client::Recording;
use crate::examine::examine;

/// The fewest images that a run must make.
const IMAGES: usize = 10_000;
/// The same for a long run.
const IMAGES_LONG: usize = 100_000;
/// Where so few changes are not synced, all their combinations are tried; in a long run …
const EXHAUSTIVE: usize = 3;
/// … where there are so few.
const EXHAUSTIVE_LONG: usize = 8;
/// One image of so many has its recovery crashed again.
const AGAIN: usize = 16;
/// Failures printed of each workflow; the rest is only counted.
const PRINTED: usize = 3;

/// What is left of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// Nothing.
    Strict,
    /// All of it.
    Full,
    /// Exactly these changes.
    Subset(u32),
    /// As the seed decides, torn writes among them.
    Seed(u64),
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strict => f.write_str("strict"),
            Self::Full => f.write_str("full"),
            Self::Subset(bits) => write!(f, "subset{bits}"),
            Self::Seed(seed) => write!(f, "seed{seed}"),
        }
    }
}

impl Variant {
    fn parse(text: &str) -> Self {
        match text {
            "strict" => Self::Strict,
            "full" => Self::Full,
            _ => match (text.strip_prefix("subset"), text.strip_prefix("seed")) {
                (Some(bits), _) => Self::Subset(bits.parse().unwrap()),
                (_, Some(seed)) => Self::Seed(seed.parse().unwrap()),
                _ => panic!("there is no variant {text}"),
            },
        }
    }

    fn image(self, disk: &SimDisk, at: usize) -> SimDisk {
        match self {
            Self::Strict => disk.image_strict(at),
            Self::Full => disk.image_full(at),
            Self::Subset(bits) => {
                disk.image_of(
                    at,
                    |index, _| {
                        if bits >> index & 1 == 1 { Keep::All } else { Keep::Nothing }
                    },
                )
            }
            Self::Seed(seed) => disk.image(at, mix(seed, at as u64)),
        }
    }

    /// What the examination of the image draws its chances from.
    fn seed(self, at: usize) -> u64 {
        let of = match self {
            Self::Strict => 1,
            Self::Full => 2,
            Self::Subset(bits) => 3 + u64::from(bits),
            Self::Seed(seed) => 1_000_000 + seed,
        };
        mix(of, at as u64)
    }
}

fn mix(one: u64, other: u64) -> u64 {
    let mixed = (one ^ other.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 8
}

/// One crash.
#[derive(Debug, Clone, Copy)]
struct Crash {
    recording: usize,
    at: usize,
    variant: Variant,
    again: bool,
}

/// Every prefix of every log, each with so many choices that together they are enough.
fn plan(recordings: &[Recording], wanted: usize, exhaustive: usize) -> (Vec<Crash>, usize, usize) {
    let mut crashes = Vec::new();
    let (mut prefixes, mut open) = (0, Vec::new());
    for (recording, of) in recordings.iter().enumerate() {
        for at in of.first..=of.disk.effects() {
            prefixes += 1;
            let unsynced = of.disk.unsynced(at);
            let mut add = |variant| {
                crashes.push(Crash { recording, at, variant, again: false });
            };
            if unsynced == 0 {
                add(Variant::Strict);
                continue;
            }
            if unsynced <= exhaustive {
                (0..1 << unsynced).for_each(|bits| add(Variant::Subset(bits)));
            } else {
                add(Variant::Strict);
                add(Variant::Full);
            }
            open.push((recording, at));
        }
    }
    // A few more than are wanted: crashes of a recovery come on top.
    let seeds = wanted.saturating_sub(crashes.len()).div_ceil(open.len().max(1)).max(2);
    for seed in 0..seeds as u64 {
        for (recording, at) in &open {
            let variant = Variant::Seed(seed);
            crashes.push(Crash { recording: *recording, at: *at, variant, again: false });
        }
    }
    for crash in crashes.iter_mut().skip(AGAIN / 2).step_by(AGAIN) {
        crash.again = true;
    }
    (crashes, prefixes, seeds)
}

/// Examines all of `crashes` on two threads; returns how many images were made.
fn run(recordings: &[Recording], crashes: &[Crash]) -> (usize, Vec<String>) {
    let (next, images) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .build()
            .unwrap();
        while let Some(crash) = crashes.get(next.fetch_add(1, Ordering::Relaxed)) {
            let recording = &recordings[crash.recording];
            let image = crash.variant.image(&recording.disk, crash.at);
            let seed = crash.variant.seed(crash.at);
            let examined = examine(recording, crash.at, &image, seed, crash.again);
            // A panic is a failure of this image, not of the run.
            let examined = runtime.block_on(AssertUnwindSafe(examined).catch_unwind());
            let lost = match examined {
                Ok(Ok(more)) => {
                    images.fetch_add(1 + more, Ordering::Relaxed);
                    continue;
                }
                Ok(Err(lost)) => lost,
                Err(_) => "a panic, printed above".to_owned(),
            };
            images.fetch_add(1, Ordering::Relaxed);
            let again = if crash.again { "/again" } else { "" };
            let deeds = recording.history.under_way(crash.at).map(|deed| deed.what.as_str());
            let deeds: Vec<_> = deeds.collect();
            failures.lock().unwrap().push(format!(
                "STRONGROOM_CRASH='{}/{}/{}{again}': {lost}\n    under way: {deeds:?}",
                recording.name, crash.at, crash.variant
            ));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    (images.into_inner(), failures.into_inner().unwrap())
}

#[test]
fn no_crash_takes_back_what_was_acknowledged_or_leaves_what_is_not() {
    if let Ok(one) = std::env::var("STRONGROOM_CRASH") {
        return replay(&one);
    }
    let long = std::env::var_os("STRONGROOM_LONG").is_some();
    let (wanted, exhaustive) =
        if long { (IMAGES_LONG, EXHAUSTIVE_LONG) } else { (IMAGES, EXHAUSTIVE) };
    let recordings = workflows::record_all(None);
    for recording in &recordings {
        let effects = recording.disk.effects();
        println!("{:>6} effects: {}", effects - recording.first, recording.name);
    }
    let (crashes, prefixes, seeds) = plan(&recordings, wanted, exhaustive);
    let (images, failures) = run(&recordings, &crashes);
    println!(
        "{images} images of {prefixes} prefixes of {} workflows, {seeds} seeds each: {} failed",
        recordings.len(),
        failures.len()
    );
    for recording in &recordings {
        let name = format!("'{}/", recording.name);
        for failure in failures.iter().filter(|failure| failure.contains(&name)).take(PRINTED) {
            println!("{failure}");
        }
    }
    assert!(failures.is_empty(), "{} images lost something", failures.len());
    assert!(images >= wanted, "{images} images are fewer than {wanted}");
}

/// One image again, as a failure names it: `WORKFLOW/PREFIX/VARIANT`, `/again` behind it where the
/// recovery was crashed in its turn.
fn replay(one: &str) {
    let mut parts = one.split('/');
    let (name, at, variant) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let recordings = workflows::record_all(Some(name));
    assert_eq!(recordings.len(), 1, "there is no workflow {name}");
    let again = parts.next().is_some();
    let (at, variant) = (at.parse().unwrap(), Variant::parse(variant));
    let (_, failures) = run(&recordings, &[Crash { recording: 0, at, variant, again }]);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
