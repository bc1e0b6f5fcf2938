//! The limit of a small answer: a server that does nothing but answer.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// About what a small manifest has.
static ANSWER: [u8; 500] = [b'x'; 500];

/// Answers each request at `address` with the same 500 bytes, for ever: hyper on tokio's threads, as
/// the registry is, without anything of the registry.
pub fn serve(address: SocketAddr) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            tokio::spawn(async move {
                let service = service_fn(|_: Request<hyper::body::Incoming>| async {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&ANSWER))))
                });
                let http = hyper::server::conn::http1::Builder::new();
                // How a connection of the measuring side ends is of no interest.
                let _ended = http.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    })
}
