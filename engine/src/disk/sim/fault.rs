//! Calls that fail.

use std::io;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No room (`ENOSPC`): calls that may need some, syncs among them.
    Full,
    /// The disk failed (`EIO`): every call.
    Broken,
    /// Permission denied (`EACCES`): calls that take a path.
    Denied,
    /// Half of a write is taken, and the call says so.
    ShortWrite,
}

/// Which calls fail, and how. A call that can't fail this way succeeds. A sync that fails loses
/// what it should have kept; any other call fails before it has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultPlan {
    /// The call that fails, as [`SimDisk::calls`](super::SimDisk::calls) counts: the next one is
    /// `calls()`.
    pub call: u64,
    /// How it fails.
    pub fault: Fault,
    /// Whether all calls from there on fail so.
    pub lasting: bool,
}

/// What kind a call is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// Looks at a path.
    Open,
    /// Reads an open file.
    Read,
    /// Makes a name.
    Allocate,
    /// Takes a name away.
    Remove,
    /// Writes to an open file.
    Write,
    /// Makes durable.
    Sync,
}

/// How a call that does not fail goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Whole,
    Short,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) calls: u64,
    pub(super) fired: u64,
    pub(super) plan: Option<FaultPlan>,
}

pub(super) fn full() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

impl Faults {
    pub(super) fn call(&mut self, call: Call) -> io::Result<Verdict> {
        let number = self.calls;
        self.calls += 1;
        let Some(plan) = self.plan else { return Ok(Verdict::Whole) };
        if number < plan.call || (number > plan.call && !plan.lasting) {
            return Ok(Verdict::Whole);
        }
        let verdict = match (plan.fault, call) {
            (Fault::Full, Call::Allocate | Call::Write | Call::Sync) => Err(full()),
            (Fault::Broken, _) => Err(io::Error::from_raw_os_error(libc::EIO)),
            (Fault::Denied, Call::Open | Call::Allocate | Call::Remove) => {
                Err(io::Error::from_raw_os_error(libc::EACCES))
            }
            (Fault::ShortWrite, Call::Write) => Ok(Verdict::Short),
            _ => return Ok(Verdict::Whole),
        };
        self.fired += 1;
        verdict
    }
}
