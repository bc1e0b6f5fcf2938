//! The limit of an answer: `strongroom-bench-bare ADDRESS BYTES` does nothing but answer. hyper on tokio's
//! threads, as the registry is, without anything of the registry; a program of its own, so that it is
//! built as the registry is.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::{Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, size] = arguments.as_slice() else {
        bail!("strongroom-bench-bare ADDRESS BYTES")
    };
    serve(address.parse()?, size.parse()?)
}

/// Answers each request at `address` with the same `size` bytes, until it is asked to end.
fn serve(address: SocketAddr, size: usize) -> Result<()> {
    let answer = Bytes::from(vec![b'x'; size]);
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let mut end = signal(SignalKind::terminate())?;
        loop {
            let (socket, _) = tokio::select! {
                accepted = listener.accept() => accepted?,
                _ = end.recv() => return Ok(()),
            };
            socket.set_nodelay(true)?;
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(|_: Request<hyper::body::Incoming>| async {
                    Ok::<_, Infallible>(Response::new(Full::new(answer.clone())))
                });
                let http = hyper::server::conn::http1::Builder::new();
                // How a connection of the measuring side ends is of no interest.
                let _ended = http.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    })
}
