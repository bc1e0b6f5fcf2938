//! Files on their way to the socket, which the kernel sends by itself where it can.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use strongroom_http::server::Refusal;
use strongroom_http::{Body, Handler, Limits, RequestBody, RequestContext, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// Longer than anything here takes; a test that waits so long has failed.
const LONG: Duration = Duration::from_mins(1);
/// Many stretches, and no multiple of one; more than sockets hold.
const SIZE: usize = 24 * 1024 * 1024 + 4321;

// A prime period, so that no two stretches or blocks are alike.
static BYTES: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..SIZE).map(|at| u8::try_from((at / 7 + at) % 251).unwrap()).collect());

/// Answers `/FROM/TO` with those bytes of a file, and `/FROM/TO/FROM/TO` with both and marks between.
struct Files(Arc<File>);

impl Handler for Files {
    fn refuse(&self, _: &str, refusal: Refusal) -> Response<Body> {
        refusal.into_plain()
    }

    async fn handle(
        &self,
        request: Request<RequestBody>,
        _: Arc<RequestContext>,
    ) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let ranges = ranges(&path);
        let file = |range: &Range<usize>| {
            Body::file(Arc::clone(&self.0), range.start as u64, range.len() as u64)
        };
        let mut response = Response::new(match ranges.as_slice() {
            [one] => file(one),
            several => Body::chain(several.iter().flat_map(|range| ["<".into(), file(range)])),
        });
        if request.method() == Method::HEAD {
            Body::leave_out(&mut response);
        }
        response
    }
}

fn ranges(path: &str) -> Vec<Range<usize>> {
    let numbers: Vec<usize> = path.split('/').skip(1).map(|n| n.parse().unwrap()).collect();
    numbers.chunks(2).map(|pair| pair[0]..pair[1]).collect()
}

/// What a path is answered with.
fn expected(path: &str) -> Vec<u8> {
    let (all, ranges) = (&*BYTES, ranges(path));
    match ranges.as_slice() {
        [one] => all[one.clone()].to_vec(),
        several => several.iter().flat_map(|range| [b"<", &all[range.clone()]].concat()).collect(),
    }
}

async fn start() -> (SocketAddr, File) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&BYTES).unwrap();
    let ours = file.try_clone().unwrap();
    let server = Server::new(Limits::default());
    tokio::spawn(server.serve(listener, Files(Arc::new(file)), std::future::pending()));
    (address, ours)
}

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

type Reader = BufReader<TcpStream>;

/// The length that the next answer's header tells.
async fn head(socket: &mut Reader) -> usize {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(LONG, socket.read_u8()).await.unwrap().unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.unwrap().parse().unwrap()
}

async fn answer(socket: &mut Reader) -> Vec<u8> {
    let mut body = vec![0; head(socket).await];
    timeout(LONG, socket.read_exact(&mut body)).await.unwrap().unwrap();
    body
}

const PATHS: [&str; 9] = [
    "/0/24",
    "/0/25170145",
    "/1/2",
    "/524287/1048577",
    "/524288/1048576",
    "/131071/196608",
    "/25100000/25170145",
    "/3/70000/25000000/25170145/9/11",
    "/8388608/9000000/0/1000000",
];

#[tokio::test]
async fn one_connection_carries_answer_after_answer_byte_for_byte() {
    let (address, _) = start().await;
    let mut socket = BufReader::new(TcpStream::connect(address).await.unwrap());
    for path in PATHS {
        socket.write_all(request("HEAD", path).as_bytes()).await.unwrap();
        let told = head(&mut socket).await;
        socket.write_all(request("GET", path).as_bytes()).await.unwrap();
        let body = answer(&mut socket).await;
        assert!(body == expected(path) && body.len() == told, "{path}");
    }
}

#[tokio::test]
async fn requests_that_are_pipelined_are_answered_in_their_order() {
    let (address, _) = start().await;
    let mut socket = BufReader::new(TcpStream::connect(address).await.unwrap());
    let all = PATHS.iter().fold(String::new(), |mut all, path| {
        write!(all, "{}{}", request("GET", path), request("HEAD", path)).unwrap();
        all
    });
    socket.write_all(all.as_bytes()).await.unwrap();
    for path in PATHS {
        assert!(answer(&mut socket).await == expected(path), "{path}");
        assert_eq!(head(&mut socket).await, expected(path).len());
    }
}

#[tokio::test]
async fn a_reader_of_little_room_and_little_haste_gets_the_same_bytes() {
    let (address, _) = start().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = BufReader::with_capacity(1024, socket.connect(address).await.unwrap());
    let path = "/77/3000000/100/200000";
    socket.write_all(request("GET", path).as_bytes()).await.unwrap();
    let mut body = vec![0; head(&mut socket).await];
    for part in body.chunks_mut(3331) {
        timeout(LONG, socket.read_exact(part)).await.unwrap().unwrap();
        tokio::task::yield_now().await;
    }
    assert!(body == expected(path));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_at_once_get_what_each_asked_for() {
    let (address, _) = start().await;
    let readers = (0..48_usize).map(|number| {
        tokio::spawn(async move {
            let mut socket = BufReader::new(TcpStream::connect(address).await.unwrap());
            let path = format!("/{}/{}", number * 70_001, SIZE - number * 1_001);
            socket.write_all(request("GET", &path).as_bytes()).await.unwrap();
            assert!(answer(&mut socket).await == expected(&path), "{path}");
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        reader.await.unwrap();
    }
}

/// What a test's log says.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_file_cut_short_while_it_is_sent_ends_its_connection_alone() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _log = tracing::subscriber::set_default(log);
    let (address, file) = start().await;
    let mut socket = BufReader::new(TcpStream::connect(address).await.unwrap());
    let mut other = BufReader::new(TcpStream::connect(address).await.unwrap());
    socket.write_all(request("GET", "/0/25170145").as_bytes()).await.unwrap();
    let mut begin = vec![0; 1024 * 1024];
    assert_eq!(head(&mut socket).await, SIZE);
    timeout(LONG, socket.read_exact(&mut begin)).await.unwrap().unwrap();
    file.set_len(1_000_000).unwrap();
    let mut rest = Vec::new();
    let _reset = timeout(LONG, socket.read_to_end(&mut rest)).await.expect("it is cut");
    // What was on its way when the file was cut may be zeros by now: nobody takes it for the whole.
    let sent = begin.len() + rest.len();
    assert!(sent < SIZE && BYTES.starts_with(&begin), "{sent} bytes");
    let said = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(said.contains("broke off") && said.contains("before the end of its body"), "{said}");

    other.write_all(request("GET", "/0/1000000").as_bytes()).await.unwrap();
    assert!(answer(&mut other).await == expected("/0/1000000"));
}
