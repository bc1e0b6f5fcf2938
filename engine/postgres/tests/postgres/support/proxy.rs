//! A proxy between a store and its server that cuts connections where a test wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where the next call of a function is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Cut {
    /// Nowhere.
    Nowhere = 0,
    /// Before the server hears of it.
    Request = 1,
    /// When the server has answered, and before the client hears of that.
    Reply = 2,
    /// The call is held back until [`Proxy::release`], and the client hears at once that it is cut.
    Late = 3,
}

pub(crate) struct Proxy {
    port: u16,
    cut: Arc<AtomicUsize>,
    release: Arc<tokio::sync::Notify>,
    /// How many were cut.
    pub(crate) cuts: Arc<AtomicUsize>,
}

impl Proxy {
    /// A proxy in front of the server at `port`.
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            cut: Arc::default(),
            release: Arc::default(),
            cuts: Arc::default(),
        };
        let (cut, cuts, release) =
            (Arc::clone(&proxy.cut), Arc::clone(&proxy.cuts), Arc::clone(&proxy.release));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (cut, cuts) = (Arc::clone(&cut), Arc::clone(&cuts));
                let release = Arc::clone(&release);
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    serve(client, server, cut, cuts, release).await;
                });
            }
        });
        proxy
    }

    /// `url` through the proxy.
    pub(crate) fn url(&self, url: &str, port: u16) -> String {
        url.replace(&format!(":{port}/"), &format!(":{}/", self.port))
    }

    /// Cuts the next commit.
    pub(crate) fn cut(&self, cut: Cut) {
        self.cut.store(cut as usize, Ordering::SeqCst);
    }

    /// Lets go what was held back.
    pub(crate) fn release(&self) {
        self.release.notify_one();
    }
}

/// How a call of a prepared statement looks in the protocol: Bind, Execute, Sync. A commit is told
/// from other calls by what only it sends: the entry that a test puts into it.
pub(crate) const MARK: &[u8] = b"cut here";

async fn serve(
    client: TcpStream,
    server: TcpStream,
    cut: Arc<AtomicUsize>,
    cuts: Arc<AtomicUsize>,
    release: Arc<tokio::sync::Notify>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let drop_reply = Arc::new(AtomicUsize::new(0));
    let replies = {
        let drop_reply = Arc::clone(&drop_reply);
        tokio::spawn(async move { copy(&mut from_server, &mut to_client, &drop_reply).await })
    };
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
        let sent = &buffer[..length];
        if sent.windows(MARK.len()).any(|window| window == MARK) {
            let wanted = cut.swap(Cut::Nowhere as usize, Ordering::SeqCst);
            cuts.fetch_add(usize::from(wanted != 0), Ordering::SeqCst);
            match wanted {
                1 => break,
                2 => drop_reply.store(1, Ordering::SeqCst),
                3 => {
                    // The client's half ends; the server's stays open for what is held back.
                    replies.abort();
                    drop(from_client);
                    release.notified().await;
                    let _ = to_server.write_all(sent).await;
                    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                    return;
                }
                _ => {}
            }
        }
        if to_server.write_all(sent).await.is_err() {
            break;
        }
    }
    replies.abort();
}

/// Copies what the server says, until it is told to swallow it and end.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    drop_reply: &AtomicUsize,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if drop_reply.load(Ordering::SeqCst) == 1 {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
