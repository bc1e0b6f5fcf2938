//! The end of a connection whose client is still sending: what comes is read for a while, and thrown
//! away.
//!
//! Closing a socket with unread bytes in it resets the connection, and a reset takes the answer away
//! that its client has not read yet (RFC 9112, section 9.6). So the answer is sent, our side is closed,
//! and the client's is read until it ends, is silent, or has gone on for long enough.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

/// The most that is read: a client that sends more than that after its answer does not look at it.
const MAX_BYTES: usize = 256 << 20;
/// A client that sends nothing for so long is not sending any more.
const SILENCE: Duration = Duration::from_secs(2);
/// How much is read at once.
const SINK: usize = 64 * 1024;

/// Reads what comes, for at most `within`.
pub(super) async fn linger(socket: &mut (impl AsyncRead + Unpin), within: Duration) {
    let end = Instant::now() + within;
    let mut sink = vec![0; SINK];
    let mut left = MAX_BYTES;
    while left > 0 {
        let patience = end.min(Instant::now() + SILENCE);
        match timeout_at(patience, socket.read(&mut sink)).await {
            Ok(Ok(read)) if read > 0 => left = left.saturating_sub(read),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex, repeat};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_silent_is_let_go_and_one_that_goes_on_is_bounded() {
        let within = Duration::from_secs(10);
        let (mut client, mut server) = duplex(64);
        client.write_all(b"rest").await.unwrap();
        let started = Instant::now();
        linger(&mut server, within).await;
        assert_eq!(started.elapsed(), SILENCE);

        let dribble = async {
            loop {
                client.write_all(b"x").await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let started = Instant::now();
        tokio::select! {
            () = linger(&mut server, within) => {}
            () = dribble => {}
        }
        assert_eq!(started.elapsed(), within);
        // An endless one ends by its size.
        linger(&mut repeat(7), Duration::MAX / 4).await;
        drop(client);
        linger(&mut server, within).await;
    }
}
