//! Reading all that is stored again, to find what rotted.
//!
//! `run` is the walk, `place` where it stands: a row that is written now and then, so that a run over
//! terabytes need not be of one piece.

mod place;
mod run;

#[cfg(test)]
pub(crate) use place::{Part, ScrubRecord};

use std::num::NonZeroU32;

use self::place::Place;
use self::run::Run;
use crate::Engine;
use crate::digest::Digest;
use crate::error::Error;
use crate::gc::walk::organisations;
use crate::gc::{Tally, Watch};
use crate::id::OrganisationId;
use crate::name::OrganisationName;

/// The `n`th of `of` shares of all content; the shares `1..=of` together are all of it, each piece
/// in exactly one, the same in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subset {
    n: u32,
    of: NonZeroU32,
}

impl Subset {
    /// Share `n`, from 1, of `of`; `None` where there is no such share.
    pub fn new(n: u32, of: u32) -> Option<Self> {
        let of = NonZeroU32::new(of)?;
        (n >= 1 && n <= of.get()).then_some(Self { n, of })
    }

    /// All of it.
    fn whole() -> Self {
        Self { n: 1, of: NonZeroU32::MIN }
    }

    /// Whether a piece of content is of this share. Digests are spread evenly already.
    fn has(self, digest: &Digest) -> bool {
        let last = digest.raw().last_chunk::<4>().copied().unwrap_or_default();
        u32::from_be_bytes(last) % self.of == self.n - 1
    }
}

/// What to scrub.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ScrubOptions {
    /// Only this share; all where absent.
    pub subset: Option<Subset>,
    /// Only this organisation; everywhere where absent.
    pub organisation: Option<OrganisationName>,
    /// About the most bytes read in a second; no bound where absent.
    pub bytes_per_second: Option<u64>,
    /// How many objects in a row may be missing before the store itself is taken to be away (a
    /// disk that is not mounted has nothing); 64 where absent.
    pub missing_in_a_row: Option<usize>,
    /// From the beginning, also where an earlier run of the same share was stopped in the middle.
    pub anew: bool,
}

/// The most pieces of rotten content that a report names.
const NAMED: usize = 10_000;

/// Content whose bytes are not its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotten {
    /// Whose.
    pub organisation: OrganisationId,
    /// Which.
    pub digest: Digest,
    /// What is wrong with it.
    pub what: String,
    /// Whether it answers as absent now, so that a push heals it. Not so for a manifest whose
    /// bytes are in the metadata: that is the database's damage, and `adopt` rebuilds it.
    pub quarantined: bool,
}

/// What a scrub found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ScrubReport {
    /// Whether it went on where an earlier run of the same share was stopped; what that one read is not
    /// told of again.
    pub resumed: bool,
    /// Content read and found right.
    pub good: Tally,
    /// Content found wrong in this run, the first 10,000 pieces of it.
    pub rotten: Vec<Rotten>,
    /// How many pieces of content were found wrong in this run.
    pub wrong: u64,
    /// Content found wrong before, which no push has healed yet.
    pub quarantined: Tally,
    /// Content that the store failed to read; nothing was done about it.
    pub unread: Tally,
}

impl ScrubReport {
    fn rotten(
        &mut self,
        organisation: OrganisationId,
        digest: &Digest,
        what: String,
        quarantined: bool,
    ) {
        self.wrong += 1;
        if self.rotten.len() < NAMED {
            let digest = *digest;
            self.rotten.push(Rotten { organisation, digest, what, quarantined });
        }
    }
}

impl Engine {
    /// Reads and hashes what is stored, while everybody works. What is missing, short or wrong is
    /// quarantined: from then on it answers as absent, and pushing it again heals it.
    ///
    /// A read that fails says nothing about the bytes: it is counted, and nothing is quarantined.
    /// What is missing is quarantined only while another object is found, which shows that the
    /// store is there. Fails with [`Error::NameUnknown`] where the organisation is not there, with
    /// [`Error::Unavailable`] where [`ScrubOptions::missing_in_a_row`] objects are missing, and
    /// where the metadata is away. Dropping the future ends the walk; what was quarantined stays so.
    ///
    /// A run that was stopped, by a kill or in any other way, is gone on with: the next one of the same
    /// share and organisation begins where it stood, to some hundred pieces of content, unless
    /// [`ScrubOptions::anew`] says otherwise.
    pub async fn scrub(
        &self,
        options: &ScrubOptions,
        watch: Watch<'_>,
    ) -> Result<ScrubReport, Error> {
        let core = &*self.core;
        let organisations = organisations(core, options.organisation.as_ref()).await?;
        let only = options.organisation.as_ref().and(organisations.first()).copied();
        let place = Place::of(only, options.subset.unwrap_or(Subset::whole()));
        let start = if options.anew { None } else { place.load(core).await? };
        let report = ScrubReport { resumed: start.is_some(), ..ScrubReport::default() };
        let mut run = Run::new(core, options, watch, place, report);
        run.all(&organisations, start).await?;
        place.clear(core).await?;
        Ok(run.report)
    }
}
