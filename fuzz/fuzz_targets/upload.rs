//! Any sequence of calls on one upload, by a client that gets everything wrong that can be: what is
//! told agrees with a model of two lines (the bytes that are kept, and whether the upload is under
//! way), and the store is whole afterwards.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use strongroom_engine::access::{Action, Caller, PrincipalId};
use strongroom_engine::content::opendal::OpendalStore;
use strongroom_engine::digest::{Algorithm, Digest};
use strongroom_engine::gc::{CollectOptions, FsckOptions};
use strongroom_engine::meta::MemoryStore;
use strongroom_engine::seam::{Clock, ManualClock, Seams, SeededEntropy, Timestamp};
use strongroom_engine::tenancy::RegistrySettings;
use strongroom_engine::{Chunk, Engine, Error, Repository, Settings, Upload};
use tokio::runtime::{Builder, Runtime};

/// Small, so that checkpoints fall into the middle of chunks.
const CHECKPOINT_BYTES: u64 = 100;
const IDLE: Duration = Duration::from_secs(3600);

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

fuzz_target!(|input: &[u8]| RUNTIME.block_on(play(input)));

/// Gives out the input byte by byte.
struct Script<'a>(std::slice::Iter<'a, u8>);

impl Script<'_> {
    fn next(&mut self) -> Option<u8> {
        self.0.next().copied()
    }

    fn or_zero(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }
}

async fn play(input: &[u8]) {
    let clock = Arc::new(ManualClock::at(Timestamp(1_700_000_000_000)));
    let time: Arc<dyn Clock> = clock.clone();
    let seams = Seams { clock: time, entropy: Arc::new(SeededEntropy::new(1)) };
    let mut settings = Settings::default();
    settings.checkpoint_bytes = CHECKPOINT_BYTES;
    settings.upload_idle = IDLE;
    let blobs = OpendalStore::memory().expect("a store in memory");
    let engine = Engine::builder(Arc::new(MemoryStore::new(&seams)), Arc::new(blobs));
    let engine = engine.seams(seams).settings(settings).build().await.expect("a new store");
    let me = Caller::known(PrincipalId::new("user:me").expect("a name"));
    let (acme, main) = ("acme".parse().expect("a name"), "main".parse().expect("a name"));
    engine.create_organisation(&me, &acme, Some(1 << 20), None).await.expect("the first");
    let registry = RegistrySettings::default();
    engine.create_registry(&me, &acme, &main, registry).await.expect("the first");
    let path = "acme/main/fuzz".parse().expect("a path");
    let repository = engine.repository(&me, &path, Action::Push).await.expect("allowed");

    let started = repository.start_upload(None, None).await.expect("there is room");
    let mut client = Client { repository, upload: started, kept: Vec::new(), under_way: true };
    let mut script = Script(input.iter());
    while let Some(call) = script.next() {
        match call % 8 {
            0..=2 => client.append(&mut script).await,
            3 => client.status().await,
            4 => client.finish(&mut script).await,
            5 => client.cancel().await,
            6 => clock.advance(Duration::from_secs(u64::from(script.or_zero()))),
            _ => {
                clock.advance(IDLE + Duration::from_secs(1));
                let everything = CollectOptions::everything();
                engine.collect(&everything, &|_| {}).await.expect("memory does not fail");
                client.under_way = false;
            }
        }
    }
    let report = engine.fsck(&FsckOptions::default(), &|_| {}).await.expect("memory does not fail");
    assert!(report.is_clean(), "{:?}", report.findings);
}

/// Who uploads, and what it knows.
struct Client {
    repository: Repository,
    upload: Upload,
    /// The bytes that the engine said it has.
    kept: Vec<u8>,
    under_way: bool,
}

impl Client {
    fn offset(&self) -> u64 {
        self.kept.len() as u64
    }

    fn is_unknown<T>(&self, answer: &Result<T, Error>) -> bool {
        matches!(answer, Err(Error::UploadUnknown { .. }))
    }

    async fn append(&mut self, script: &mut Script<'_>) {
        let (count, size) = (script.or_zero() % 5, usize::from(script.or_zero()));
        let fill = script.or_zero();
        let pieces: Vec<Vec<u8>> = (0..count).map(|n| vec![fill.wrapping_add(n); size]).collect();
        let bytes = pieces.concat();
        let at = match script.or_zero() % 4 {
            0 => None,
            1 => Some(self.offset()),
            2 => Some(u64::from(script.or_zero())),
            _ => Some(self.offset().saturating_sub(bytes.len() as u64)),
        };
        let length = match script.or_zero() % 4 {
            0 | 1 => None,
            2 => Some(bytes.len() as u64),
            _ => Some(u64::from(script.or_zero())),
        };
        let breaks = script.or_zero() % 4 == 0;
        let mut body: Vec<Result<Bytes, std::io::Error>> =
            pieces.into_iter().map(|piece| Ok(piece.into())).collect();
        if breaks {
            body.push(Err(std::io::Error::other("the client went away")));
        }
        let before = self.offset();
        let chunk = Chunk { at, length };
        let answer =
            self.repository.append(self.upload.id, chunk, futures::stream::iter(body)).await;
        if !self.under_way {
            assert!(self.is_unknown(&answer), "{answer:?}");
            return;
        }
        match answer {
            Ok(stands) if at.is_some_and(|at| at != before) => {
                // What came last was sent again.
                assert_eq!(at.zip(length).map(|(at, length)| at + length), Some(before));
                assert_eq!(stands.offset, before);
            }
            Ok(stands) => {
                assert!(!breaks && length.is_none_or(|length| length == bytes.len() as u64));
                self.kept.extend_from_slice(&bytes);
                assert_eq!(stands.offset, self.offset());
            }
            Err(Error::OutOfOrder { offset, at: told }) => {
                assert_eq!((offset, Some(told)), (before, at));
                assert_ne!(at, Some(before));
            }
            Err(Error::Source(_) | Error::LengthMismatch { .. }) => {
                let stands = self.repository.upload(self.upload.id).await.expect("it stands");
                let came = stands.offset.checked_sub(before).expect("nothing is taken back");
                let came = usize::try_from(came).expect("small");
                self.kept.extend_from_slice(bytes.get(..came).expect("no more than was sent"));
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn status(&mut self) {
        let answer = self.repository.upload(self.upload.id).await;
        if self.under_way {
            assert_eq!(answer.expect("it is under way").offset, self.offset());
        } else {
            assert!(self.is_unknown(&answer), "{answer:?}");
        }
    }

    async fn finish(&mut self, script: &mut Script<'_>) {
        let choice = script.or_zero();
        let algorithm = if choice & 1 == 0 { Algorithm::Sha256 } else { Algorithm::Sha512 };
        let right = choice & 6 != 0;
        let digest =
            if right { Digest::of(algorithm, &self.kept) } else { Digest::of(algorithm, b"other") };
        let answer = self.repository.finish_upload(self.upload.id, &digest).await;
        match answer {
            Ok(blob) => {
                assert!(right && blob.size == self.offset());
                self.read(&digest).await;
            }
            Err(Error::DigestMismatch { found, .. }) => {
                assert!(self.under_way && !right);
                assert_eq!(found, Digest::of(algorithm, &self.kept));
            }
            answer => assert!(!self.under_way && self.is_unknown(&answer), "{answer:?}"),
        }
        self.under_way = false;
    }

    /// What was acknowledged is there, byte for byte.
    async fn read(&self, digest: &Digest) {
        let found = self.repository.stat_blob(digest).await;
        // The handle was opened to push, which lets it look but not read.
        assert!(found.is_ok() || matches!(found, Err(Error::Denied { .. })), "{found:?}");
    }

    async fn cancel(&mut self) {
        let answer = self.repository.cancel_upload(self.upload.id).await;
        assert!(if self.under_way { answer.is_ok() } else { self.is_unknown(&answer) });
        self.under_way = false;
    }
}
