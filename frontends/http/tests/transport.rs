//! What goes over the wire: HTTP/1.1, HTTP/2, TLS, files; and how it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use strongroom_http::Server;
use strongroom_http::server::Shutdown;
use strongroom_http::tls::{Tls, TlsFiles};
use support::{FILE_SIZE, LONG, Running, everything, file_bytes, limits, status};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

type Client<B> = SendRequest<B>;

async fn h2<B>(socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Client<B>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .unwrap();
    tokio::spawn(connection);
    client
}

fn get<B: Default>(path: &str) -> Request<B> {
    Request::get(format!("http://localhost{path}")).body(B::default()).unwrap()
}

#[tokio::test]
async fn http_1_1_tells_lengths_and_answers_head_without_a_body() {
    let server = Running::start(limits()).await;
    let answer = server.get("/hello").await;
    assert!(
        answer.contains("content-length: 5\r\n") && answer.ends_with("\r\n\r\nhello"),
        "{answer}"
    );
    let answer = server.raw("HEAD /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains(&format!("content-length: {FILE_SIZE}\r\n")), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn http_2_without_tls_serves_many_streams_of_one_connection() {
    let server = Running::start(limits()).await;
    let client = h2::<Empty<Bytes>>(server.connect().await).await;
    let answers = (0..50).map(async |_| {
        let response = client.clone().send_request(get("/hello")).await.unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
        response.into_body().collect().await.unwrap().to_bytes()
    });
    let answers = futures::future::join_all(answers).await;
    assert!(answers.len() == 50 && answers.iter().all(|body| body == "hello"));
    let status = client.clone().send_request(get("/panic")).await.unwrap().status();
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let status = client.clone().send_request(get("/hello")).await.unwrap().status();
    assert_eq!(status, StatusCode::OK, "one stream's panic is not the connection's");
}

#[tokio::test]
async fn a_file_arrives_byte_for_byte_over_both_protocols() {
    let server = Running::start(limits()).await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut raw = Vec::new();
    timeout(LONG, socket.read_to_end(&mut raw)).await.unwrap().unwrap();
    assert!(raw.ends_with(&file_bytes()));

    let mut client = h2::<Empty<Bytes>>(server.connect().await).await;
    let response = client.send_request(get("/file")).await.unwrap();
    assert_eq!(response.headers()["content-length"], FILE_SIZE.to_string());
    let body = timeout(LONG, response.into_body().collect()).await.unwrap().unwrap().to_bytes();
    assert!(body == file_bytes());
}

#[tokio::test]
async fn threat_c23_a_flood_of_resets_leaves_nothing_behind_and_harms_no_other() {
    let server = Running::start(limits()).await;
    let client = h2::<Empty<Bytes>>(server.connect().await).await;
    let mut other = h2::<Empty<Bytes>>(server.connect().await).await;
    for _ in 0..5_000 {
        let mut client = client.clone();
        if timeout(LONG, client.ready()).await.unwrap().is_err() {
            break;
        }
        // Dropping the answer's future before it is there resets the stream.
        let mut answer = std::pin::pin!(client.send_request(get("/hold")));
        assert!(futures::poll!(answer.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    let answer = timeout(LONG, other.send_request(get("/hello"))).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    server.nothing_alive().await;
}

#[tokio::test]
async fn a_client_that_leaves_midway_frees_everything() {
    let server = Running::start(limits()).await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut some = vec![0; 1024 * 1024];
    timeout(LONG, socket.read_exact(&mut some)).await.unwrap().unwrap();
    drop(socket);
    server.nothing_alive().await;

    let mut client = h2::<Empty<Bytes>>(server.connect().await).await;
    let mut body = client.send_request(get("/endless")).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().is_ok());
    drop((body, client));
    server.nothing_alive().await;

    let mut socket = server.connect().await;
    socket
        .write_all(b"PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        .await
        .unwrap();
    server.seen.reached.notified().await;
    drop(socket);
    server.nothing_alive().await;
}

#[tokio::test]
async fn a_shutdown_lets_an_upload_finish_and_takes_no_new_connection() {
    let mut server = Running::start(limits()).await;
    let mut upload = server.connect().await;
    upload
        .write_all(b"PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf")
        .await
        .unwrap();
    server.seen.reached.notified().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut silent = server.connect().await;

    server.ask_to_stop();
    assert_eq!(status(&everything(&mut idle).await), "200");
    everything(&mut silent).await;
    let late = tokio::net::TcpStream::connect(server.address).await;
    assert!(late.is_err(), "nobody listens any more");

    upload.write_all(b"done").await.unwrap();
    let answer = everything(&mut upload).await;
    assert!(status(&answer) == "200" && answer.ends_with('8'), "{answer}");
    assert_eq!(server.stopped().await, Shutdown::Clean);
}

#[tokio::test]
async fn a_shutdown_of_http_2_finishes_its_streams() {
    let mut server = Running::start(limits()).await;
    let mut client = h2(server.connect().await).await;
    let (sender, receiver) =
        futures::channel::mpsc::unbounded::<Result<Frame<Bytes>, std::io::Error>>();
    let chunk = |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
    sender.unbounded_send(chunk("half")).unwrap();
    let request = Request::put("http://localhost/count").body(StreamBody::new(receiver)).unwrap();
    let answer = tokio::spawn(client.send_request(request));
    server.seen.reached.notified().await;
    server.ask_to_stop();
    sender.unbounded_send(chunk("done")).unwrap();
    drop(sender);
    let answer = timeout(LONG, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "8");
    assert_eq!(server.stopped().await, Shutdown::Clean);
}

#[tokio::test]
async fn a_shutdown_cuts_what_outlasts_the_grace() {
    let mut limits = limits();
    limits.shutdown_grace = Duration::from_millis(50);
    let mut server = Running::start(limits).await;
    let mut held = server.connect().await;
    held.write_all(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    server.seen.reached.notified().await;
    server.ask_to_stop();
    assert_eq!(everything(&mut held).await, "");
    server.nothing_alive().await;
    assert_eq!(server.stopped().await, Shutdown::Cut(1));
}

struct Certificate {
    files: TlsFiles,
    dir: tempfile::TempDir,
}

impl Certificate {
    fn new() -> (Self, rustls::RootCertStore) {
        let dir = tempfile::tempdir().unwrap();
        let files =
            TlsFiles { certificate: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        let made = Self { files, dir };
        let roots = made.renew();
        (made, roots)
    }

    /// Writes a new pair; gives what trusts it and nothing else.
    fn renew(&self) -> rustls::RootCertStore {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&self.files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&self.files.key, made.signing_key.serialize_pem()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        roots
    }
}

async fn tls_client(
    server: &Running,
    roots: rustls::RootCertStore,
    protocol: &[u8],
) -> std::io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    connector.connect(name, server.connect().await).await
}

#[tokio::test]
async fn tls_serves_both_protocols_and_takes_a_new_certificate_without_a_restart() {
    let (certificate, old) = Certificate::new();
    let tls = Tls::load(certificate.files.clone()).unwrap();
    let server = Running::start_server(Server::new(limits()).tls(tls.clone())).await;

    let mut h1 = tls_client(&server, old.clone(), b"http/1.1").await.unwrap();
    h1.write_all(b"GET /base HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 1024];
    let length = timeout(LONG, h1.read(&mut answer)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&answer[..length]).contains("200 OK"));

    let socket = tls_client(&server, old.clone(), b"h2").await.unwrap();
    assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = h2::<Full<Bytes>>(socket).await;
    let request = Request::get("https://localhost/base").body(Full::default()).unwrap();
    let body = client.send_request(request).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "https://localhost");

    let new = certificate.renew();
    let watching = tokio::spawn(tls.watch(Duration::from_millis(10)));
    let renewed = async {
        while tls_client(&server, new.clone(), b"h2").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, renewed).await.expect("the new certificate is taken");
    assert!(tls_client(&server, old, b"h2").await.is_err());
    let body = client.send_request(get("/hello")).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "hello", "open connections go on");
    watching.abort();
    drop(certificate.dir);
}

#[tokio::test]
async fn a_client_that_speaks_no_tls_costs_nobody_anything() {
    let (certificate, roots) = Certificate::new();
    let tls = Tls::load(certificate.files.clone()).unwrap();
    let server = Running::start_server(Server::new(limits()).tls(tls)).await;
    let answer = server.get("/hello").await;
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
    assert!(tls_client(&server, roots, b"http/1.1").await.is_ok());
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_reset_while_others_of_its_connection_go_on() {
    let mut limits = limits();
    limits.stall_timeout = Duration::from_millis(300);
    let server = Running::start(limits).await;
    let mut client: Client<Empty<Bytes>> = h2(server.connect().await).await;
    let mut stalled = client.send_request(get("/endless")).await.unwrap().into_body();
    // Others move all the time, so the connection is none that stands still.
    let reset = async {
        while server.seen.alive.load(std::sync::atomic::Ordering::SeqCst) > 0 {
            client.ready().await.unwrap();
            let answer = client.send_request(get("/file")).await.unwrap();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body.len(), FILE_SIZE);
        }
    };
    timeout(LONG, reset).await.expect("what nobody reads is let go");
    let broken = async {
        loop {
            match stalled.frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return true,
                None => return false,
            }
        }
    };
    assert!(timeout(LONG, broken).await.unwrap(), "it is broken off, not ended");
}
