//! A file of the upstream, fetched when somebody takes it the first time.
//!
//! Its bytes go from the upstream into the engine and into a temporary file, from which all who wait
//! for it read as it grows. The last of them are held back until the whole has the sha256 that the page
//! promised, was looked through like an upload, and is kept; what is not so ends in the middle for
//! everybody, and nothing of it stays. Whoever asked may leave: a fetch that began ends by itself.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{Stream, TryStreamExt, join, stream};
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use strongroom_engine::Repository;
use strongroom_engine::access::{Caller, PrincipalId};
use strongroom_http::Body;
use strongroom_http::blob::{self, BYTES};
use strongroom_http::conditional::{self, ETag, Precondition};
use strongroom_outbound::Target;
use strongroom_python::{ArchiveError, FileName, Inspected, Others, Provenance, inspect};
use tokio::sync::watch;

use super::What;
use super::client::{AnswerBody, Ask, Fault};
use super::offer::Standing;
use super::page::RemoteFile;
use super::rules::Rules;
use crate::artifact::INTEGRITY;
use crate::error::{Failure, Reply, aside, internal};
use crate::records::{Of, ProjectRecord};
use crate::simple::with_status;
use crate::upload::content::{Content, Place, Received, Taking};
use crate::upload::publish::{self, NewFile, Origin};
use crate::{Inner, Input};

/// In whose name files are kept: the rule's, for whoever asked may only read.
const KEEPER: &str = "system:python-upstream";
/// How much of a file is held back until it is known to be right.
const HELD_BACK: u64 = 64 << 10;
/// The most bytes of a provenance.
const MAX_PROVENANCE: u64 = 1 << 20;
/// How much is read at once for somebody who waits.
const BLOCK: u64 = 256 << 10;

/// By which a file may be fetched.
#[derive(Debug, Clone)]
pub(crate) struct Fetching {
    pub(super) standing: Standing,
    pub(super) rules: Rules,
}

/// How far a fetch is.
#[derive(Debug, Clone, Default)]
struct State {
    /// How long the file is, once it is known.
    length: Option<u64>,
    written: u64,
    /// How it ended.
    end: Option<Result<(), Failure>>,
}

impl State {
    /// Up to where it may be read.
    fn released(&self) -> u64 {
        match &self.end {
            Some(Ok(())) => self.written,
            Some(Err(_)) => 0,
            None => self.written.saturating_sub(HELD_BACK),
        }
    }
}

/// A file that is being fetched.
#[derive(Debug, Clone)]
struct Flight {
    file: Arc<File>,
    state: watch::Receiver<State>,
}

/// The repository that a file goes to and its name there; its digest is what the page promised.
type FlightKey = (String, String);

/// What is being fetched.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<FlightKey, Flight>>);

/// Takes a flight off the list, however it ends.
struct Listed {
    service: Arc<Inner>,
    key: FlightKey,
    state: watch::Sender<State>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut flights =
            self.service.source.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(&self.key);
        drop(flights);
        self.state.send_if_modified(|state| {
            let broken = state.end.is_none();
            if broken {
                state.end = Some(Err(internal("fetching a file was given up")));
            }
            broken
        });
    }
}

/// The temporary file, which tells those who wait how far it is.
struct Growing {
    file: Arc<File>,
    state: watch::Sender<State>,
}

impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = (&*self.file).write(bytes)?;
        self.state.send_modify(|state| state.written += written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.file).flush()
    }
}

impl Read for Growing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.file).read(buffer)
    }
}

impl Seek for Growing {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self.file).seek(to)
    }
}

/// Answers a request for a file that is not here yet.
pub(crate) async fn serve(
    service: &Arc<Inner>,
    repository: &Repository,
    fetching: &Fetching,
    remote: &RemoteFile,
    input: &Input,
) -> Result<Reply, Failure> {
    let etag = blob::etag(&remote.sha256);
    match conditional::check(&input.headers, Some(&etag)) {
        Precondition::Holds => {}
        Precondition::NotModified => {
            let mut reply = with_status(StatusCode::NOT_MODIFIED);
            blob::describe(reply.headers_mut(), &etag);
            return Ok(reply);
        }
        Precondition::Failed => return Ok(with_status(StatusCode::PRECONDITION_FAILED)),
    }
    // How long it is, is no reason to fetch it. That parts of it can be had is not said: not yet.
    if input.head && remote.size.is_some() {
        return Ok(octets(Body::empty(), remote.size, &etag));
    }
    let mut flight = join(service, repository, fetching, remote)?;
    let begun = flight.state.wait_for(|state| state.end.is_some() || state.released() > 0).await;
    let state = begun.map_err(|_| internal("a fetch ended without a word"))?.clone();
    if let Some(Err(failure)) = state.end {
        return Err(failure);
    }
    let length = if matches!(state.end, Some(Ok(()))) { Some(state.written) } else { state.length };
    let body = Body::stream(reading(flight).map_err(Into::into), length);
    Ok(octets(body, length, &etag))
}

/// A file as it comes: no part of it can be asked for.
fn octets(body: Body, length: Option<u64>, etag: &ETag) -> Reply {
    let mut reply = Response::new(body);
    let headers = reply.headers_mut();
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(BYTES));
    blob::describe(headers, etag);
    headers.remove(ACCEPT_RANGES);
    reply
}

/// The flight of a file: the one that is under way, or a new one.
fn join(
    service: &Arc<Inner>,
    repository: &Repository,
    fetching: &Fetching,
    remote: &RemoteFile,
) -> Result<Flight, Failure> {
    let key = (repository.path().to_string(), format!("{} {}", remote.sha256, remote.name));
    let mut flights = service.source.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(flight) = flights.get(&key) {
        return Ok(flight.clone());
    }
    let file = tempfile::tempfile();
    let file = Arc::new(file.map_err(|error| internal(&format!("a temporary file: {error}")))?);
    let (sender, state) = watch::channel(State::default());
    let flight = Flight { file: Arc::clone(&file), state };
    flights.insert(key.clone(), flight.clone());
    drop(flights);
    let keeper = PrincipalId::new(KEEPER).expect("it is short and printable");
    let fetch = Fetch {
        service: Arc::clone(service),
        repository: repository.for_rule(keeper.clone()),
        keeper: Caller::known(keeper),
        fetching: fetching.clone(),
        remote: remote.clone(),
    };
    let listed = Listed { service: Arc::clone(service), key, state: sender.clone() };
    tokio::spawn(async move {
        let limit = fetch.service.source.upstreams.settings().file_timeout;
        let growing = Growing { file, state: sender };
        let state = growing.state.clone();
        let ended = tokio::time::timeout(limit, fetch.run(growing)).await;
        let ended = ended.unwrap_or_else(|_| Err(Fault::TimedOut.into()));
        if let Err(failure) = &ended {
            let (project, file) = (fetch.repository.path(), fetch.remote.name.as_str());
            tracing::warn!(%project, file, why = failure.text(), "a file was not kept");
        }
        state.send_modify(|state| state.end = Some(ended));
        drop(listed);
    });
    Ok(flight)
}

/// The bytes of a flight for one who waits, as they are released.
fn reading(flight: Flight) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold((flight, 0_u64), |(mut flight, at)| async move {
        let further = |state: &State| state.end.is_some() || state.released() > at;
        let state = flight.state.wait_for(further).await;
        let state = state.map_err(|_| io::Error::other("the fetch ended"))?.clone();
        if let Some(Err(failure)) = &state.end {
            return Err(io::Error::other(failure.text().to_owned()));
        }
        let length = state.released().saturating_sub(at).min(BLOCK);
        if length == 0 {
            return Ok(None);
        }
        let file = Arc::clone(&flight.file);
        let read = tokio::task::spawn_blocking(move || {
            let mut block = vec![0; usize::try_from(length).unwrap_or_default()];
            file.read_exact_at(&mut block, at).map(|()| block)
        });
        let block = read.await.map_err(io::Error::other)??;
        Ok(Some((block.into(), (flight, at + length))))
    })
}

/// One fetch.
struct Fetch {
    service: Arc<Inner>,
    repository: Repository,
    keeper: Caller,
    fetching: Fetching,
    remote: RemoteFile,
}

impl Fetch {
    async fn run(&self, growing: Growing) -> Result<(), Failure> {
        let source = &self.service.source;
        let tenant = self.repository.tenant();
        let of = Of { tenant, project: self.remote.name.project() };
        let _permit = source.permit(tenant, What::File).await?;
        let most = self.service.settings.file_max_bytes;
        let authorization = source.authorization(&self.fetching.rules, tenant)?;
        let (target, accept) = (self.remote.url.clone(), "*/*");
        let ask = Ask { target, accept, etag: None, authorization: authorization.clone() };
        let answer = source.client.get(ask).await?;
        if answer.status != StatusCode::OK {
            return Err(Fault::Status(answer.status.as_u16()).into());
        }
        let length = answer.length();
        if let (Some(says), Some(length)) = (self.remote.size, length)
            && says != length
        {
            let text = format!("its page says {says} bytes, and it sends {length}");
            return Err(Failure::upstream(&text));
        }
        if length.is_some_and(|length| length > most) {
            return Err(Fault::TooLarge(most).into());
        }
        growing.state.send_modify(|state| state.length = length);
        let body = bytes_of(answer.body);
        let in_memory = self.service.settings.in_memory_bytes;
        let taking = Taking { most, in_memory, others: Others { blake2b_256: false, md5: false } };
        let content = Content::take(&self.repository, body, taking, Box::new(growing));
        let (content, provenance) = join!(content, self.provenance(authorization));
        let mut content = content?;
        let Received { digests, file, size } = content.received()?;
        let sha256 = format!("sha256:{}", const_hex::encode(digests.sha256));
        if sha256 != self.remote.sha256.to_string() {
            let wanted = self.remote.sha256;
            let text =
                format!("its page promises {wanted}, and it sends {sha256}: nothing was kept");
            return Err(Failure::upstream(&text));
        }
        let (found, file) = self.look_inside(file).await?;
        content.give_back(file);
        let project = self.project()?;
        if self.fetching.standing == Standing::Follows {
            self.claim(&of, &project).await?;
        }
        let provenance = provenance.and_then(|bytes| self.judge(&bytes, &digests.sha256));
        let file = NewFile {
            name: self.remote.name.clone(),
            digests,
            size,
            metadata: found.map(|found| (found.metadata, found.metadata_bytes.into())),
            provenance,
            origin: Some(Origin {
                project,
                uploaded: self.remote.uploaded,
                requires_python: self.remote.requires_python.clone(),
            }),
        };
        Box::pin(publish::publish(&self.service, &self.repository, content, &file)).await?;
        source.keep_page(&self.service.records, &of).await?;
        Ok(())
    }

    /// What the upstream gives out as the file's provenance. It is no part of an install: where it can't be
    /// had, the file is kept without it.
    async fn provenance(&self, authorization: Option<(&Target, HeaderValue)>) -> Option<Bytes> {
        let target = self.remote.provenance.clone()?;
        let source = &self.service.source;
        let work = async {
            let ask = Ask { target, accept: INTEGRITY, etag: None, authorization };
            let answer = source.client.get(ask).await?;
            match answer.status {
                StatusCode::OK => answer.body.whole(MAX_PROVENANCE).await,
                status => Err(Fault::Status(status.as_u16())),
            }
        };
        let limit = source.upstreams.settings().page_timeout;
        let got = tokio::time::timeout(limit, work).await.unwrap_or(Err(Fault::TimedOut));
        got.map_err(|error| self.without_provenance(&error)).ok()
    }

    /// The provenance, where it is one of this file.
    fn judge(&self, bytes: &[u8], sha256: &[u8; 32]) -> Option<Provenance> {
        let parsed = Provenance::parse(bytes, &self.remote.name, sha256);
        parsed.map_err(|error| self.without_provenance(&error)).ok()
    }

    fn without_provenance(&self, error: &dyn std::fmt::Display) {
        let (project, file) = (self.repository.path(), self.remote.name.as_str());
        tracing::warn!(%project, file, %error, "a file is kept without its provenance");
    }

    /// The project's address at the upstream.
    fn project(&self) -> Result<String, Failure> {
        let target = self.fetching.rules.project(self.remote.name.project());
        target.map(|target| target.to_string()).map_err(|error| Failure::bad(error.to_string()))
    }

    /// Says that the name is the upstream's, before anything of it is here: else what is here would make
    /// it the registry's own. Not where somebody made it that meanwhile.
    async fn claim(&self, of: &Of<'_>, project: &str) -> Result<(), Failure> {
        let records = &self.service.records;
        let seen = records.of(of).await?;
        if seen.record.origin.is_some() {
            return Ok(());
        }
        if seen.version.is_some() || self.repository.exists_now().await? {
            let text = "the name is the registry's own by now";
            return Err(Failure::new(StatusCode::CONFLICT, text));
        }
        let line = format!("its files are fetched from {project}");
        let change = |record: &mut ProjectRecord| record.origin = Some(project.to_owned());
        records.change(&self.keeper, of, &line, change).await?;
        Ok(())
    }

    /// Looks through the archive. An old file whose metadata today's rules would not let in is kept, and
    /// nothing is said of them; one that two unpackers could read in two ways is not.
    async fn look_inside(
        &self,
        file: Box<dyn Place>,
    ) -> Result<(Option<Inspected>, Box<dyn Place>), Failure> {
        let (limits, name) = (self.service.settings.archive, self.remote.name.clone());
        let looking = aside("looking through an archive", move || look(&name, file, &limits));
        let (found, back) = looking.await?;
        match found {
            Ok(found) => Ok((Some(found), back)),
            Err(ArchiveError::Io(error)) => Err(internal(&error.to_string())),
            Err(
                error @ (ArchiveError::Metadata(_)
                | ArchiveError::LicenseFile { .. }
                | ArchiveError::EntryPoints { .. }
                | ArchiveError::Wheel { .. }),
            ) => {
                let file = self.remote.name.as_str();
                tracing::info!(file, %error, "a file is kept without its metadata");
                Ok((None, back))
            }
            Err(error) => Err(Failure::upstream(&format!("its file is refused: {error}"))),
        }
    }
}

fn look(
    name: &FileName,
    mut file: Box<dyn Place>,
    limits: &strongroom_python::Limits,
) -> (Result<Inspected, ArchiveError>, Box<dyn Place>) {
    let found = file.rewind().map_err(ArchiveError::Io);
    let found = found.and_then(|()| inspect(name, &mut file, limits));
    (found, file)
}

fn bytes_of(body: AnswerBody) -> impl Stream<Item = Result<Bytes, Failure>> + Send {
    stream::try_unfold(body, |mut body| async move {
        Ok(body.chunk().await?.map(|bytes| (bytes, body)))
    })
}
