//! What a history is made of, and how histories are drawn.

use proptest::prelude::*;

use strongroom_engine::access::Role;

use super::pool::FIRST_MANIFEST;
use super::reference::HOUR;

/// Where a chunk says it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Right,
    Unsaid,
    Wrong,
    /// All that was received, sent again.
    Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collecting {
    Whole,
    Dry,
}

/// A role that somebody is given, or loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    pub who: usize,
    pub in_registry: bool,
    pub role: Option<Role>,
}

/// The settings of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// Some tags neither move nor go.
    pub immutable: bool,
    /// Tags that were set more than a day ago expire.
    pub expiring: bool,
}

/// One step. Things, repositories and tags are numbers; slots hold uploads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    PushBlob {
        repo: usize,
        thing: usize,
        wrong: bool,
        known: bool,
        pieces: u64,
    },
    /// Starts an upload of a thing, saying its digest or not.
    Start {
        slot: usize,
        repo: usize,
        thing: usize,
        said: bool,
    },
    Append {
        slot: usize,
        elsewhere: bool,
        at: At,
        length: u64,
        known: bool,
        pieces: u64,
        /// The body breaks off half way.
        broken: bool,
    },
    Finish {
        slot: usize,
        wrong: bool,
    },
    Cancel {
        slot: usize,
    },
    Mount {
        to: usize,
        from: Option<usize>,
        thing: usize,
    },
    Head {
        repo: usize,
        thing: usize,
    },
    /// The tags are the bits of a number.
    PushManifest {
        repo: usize,
        thing: usize,
        tags: u8,
    },
    DeleteTag {
        repo: usize,
        tag: u8,
    },
    DeleteManifest {
        repo: usize,
        thing: usize,
    },
    DeleteBlob {
        repo: usize,
        thing: usize,
    },
    Quota {
        organisation: usize,
        bytes: Option<u64>,
    },
    Role {
        organisation: usize,
        roles: Roles,
    },
    Rules {
        organisation: usize,
        rules: Rules,
    },
    /// All is read again.
    Scrub,
    /// The bytes of a thing rot, a scrub finds that, and it is pushed again.
    Rot {
        organisation: usize,
        thing: usize,
    },
    /// Moves the clock by so many milliseconds.
    Jump(i64),
    Collect(Collecting),
    /// A new process over the same stores, or over what power loss left of them.
    Restart(u64),
    /// Both at once.
    Both(Box<Op>, Box<Op>),
    /// Given up after it paused so many times.
    GivenUp(Box<Op>, u32),
}

/// An operation of one client.
fn request(things: usize) -> impl Strategy<Value = Op> + Clone {
    let thing = 0..things;
    let blob = prop_oneof![9 => 0..FIRST_MANIFEST, 1 => thing.clone()];
    let (repo, slot) = (0..4_usize, 0..3_usize);
    let manifest = FIRST_MANIFEST..things;
    let mostly_not = || prop::bool::weighted(0.1);
    let at = prop_oneof![
        6 => Just(At::Right), 2 => Just(At::Unsaid), 1 => Just(At::Wrong), 1 => Just(At::Again)
    ];
    let length = prop_oneof![3 => Just(u64::MAX), 2 => 0..6_000_u64];
    let append = (slot.clone(), mostly_not(), at, length, any::<bool>(), 1..4_u64, mostly_not());
    prop_oneof![
        12 => (repo.clone(), blob.clone(), mostly_not(), any::<bool>(), 1..4_u64).prop_map(
            |(repo, thing, wrong, known, pieces)| {
                Op::PushBlob { repo, thing, wrong, known, pieces }
            }
        ),
        4 => (slot.clone(), repo.clone(), blob.clone(), any::<bool>())
            .prop_map(|(slot, repo, thing, said)| Op::Start { slot, repo, thing, said }),
        6 => append.prop_map(|(slot, elsewhere, at, length, known, pieces, broken)| {
            Op::Append { slot, elsewhere, at, length, known, pieces, broken }
        }),
        4 => (slot.clone(), mostly_not()).prop_map(|(slot, wrong)| Op::Finish { slot, wrong }),
        1 => slot.clone().prop_map(|slot| Op::Cancel { slot }),
        5 => (repo.clone(), prop::option::of(repo.clone()), blob)
            .prop_map(|(to, from, thing)| Op::Mount { to, from, thing }),
        4 => (repo.clone(), thing.clone()).prop_map(|(repo, thing)| Op::Head { repo, thing }),
        14 => (repo.clone(), manifest.clone(), any::<u8>())
            .prop_map(|(repo, thing, tags)| Op::PushManifest { repo, thing, tags }),
        2 => (repo.clone(), 0..8_u8).prop_map(|(repo, tag)| Op::DeleteTag { repo, tag }),
        4 => (repo.clone(), manifest).prop_map(|(repo, thing)| Op::DeleteManifest { repo, thing }),
        3 => (repo, thing).prop_map(|(repo, thing)| Op::DeleteBlob { repo, thing }),
    ]
}

/// One step of a history.
pub fn op(things: usize) -> impl Strategy<Value = Op> {
    let request = request(things);
    let collect = prop_oneof![4 => Just(Collecting::Whole), 1 => Just(Collecting::Dry)];
    let collect = collect.prop_map(Op::Collect);
    let quota = prop_oneof![2 => Just(None), 3 => (0..160_000_u64).prop_map(Some)];
    // Minutes that no lease is a sum of, so that nothing hangs on an exact moment.
    let hours = prop_oneof![4 => 1..30_i64, 1 => -20..0_i64];
    let jump = hours.prop_map(|hours| Op::Jump(hours * HOUR.cast_signed() + hours * 60_013));
    let either = prop_oneof![5 => request.clone(), 1 => collect.clone()].boxed();
    let both = (request.clone(), either.clone())
        .prop_map(|(one, other)| Op::Both(Box::new(one), Box::new(other)));
    let given_up = (either, 0..30_u32).prop_map(|(op, n)| Op::GivenUp(Box::new(op), n));
    let role = prop_oneof![Just(Role::Viewer), Just(Role::Writer), Just(Role::Admin)];
    let role = (0..2_usize, 0..2_usize, any::<bool>(), prop::option::weighted(0.7, role)).prop_map(
        |(organisation, who, in_registry, role)| Op::Role {
            organisation,
            roles: Roles { who, in_registry, role },
        },
    );
    let rules = (0..2_usize, any::<bool>(), prop::bool::weighted(0.4)).prop_map(
        |(organisation, immutable, expiring)| Op::Rules {
            organisation,
            rules: Rules { immutable, expiring },
        },
    );
    let rot = (0..2_usize, 0..FIRST_MANIFEST);
    prop_oneof![
        3 => role,
        3 => rules,
        1 => Just(Op::Scrub),
        2 => rot.prop_map(|(organisation, thing)| Op::Rot { organisation, thing }),
        60 => request,
        12 => both,
        6 => given_up,
        5 => collect,
        6 => jump,
        2 => (0..2_usize, quota).prop_map(|(organisation, bytes)| Op::Quota { organisation, bytes }),
        2 => any::<u64>().prop_map(Op::Restart),
    ]
}
