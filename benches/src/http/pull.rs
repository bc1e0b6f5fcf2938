//! Pulling a large blob, against nginx's sendfile.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Result;
use strongroom_engine::digest::{Algorithm, Digest};

use super::child::{Nginx, REPOSITORY, Strongroom, Used, basic};
use super::client::Client;
use super::{LARGE, load, peers};
use crate::figure::{Goal, Report, median};
use crate::world::random_bytes;

const ROUNDS: usize = 7;
/// How many pulls one measurement does, so that the kernel's clock of 10 ms tells them.
const PULLS: usize = 8;
const GIB: f64 = (1_u64 << 30) as f64;

/// The rates (MB/s) and costs (processor seconds a GiB) of one server's rounds.
#[derive(Default)]
struct Measured {
    rate: Vec<f64>,
    cost: Vec<f64>,
}

pub(super) fn run(report: &mut Report) -> Result<()> {
    let bytes = random_bytes(LARGE);
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let server = Strongroom::start()?;
    load::upload(&mut server.client()?, &bytes, &digest)?;
    let nginx = Nginx::start(&bytes)?;
    let peers = peers::start_all()?;
    for peer in &peers {
        load::upload(&mut peer.client()?, &bytes, &digest)?;
    }
    drop(bytes);
    let path = format!("/v2/{REPOSITORY}/blobs/{digest}");
    for clients in [1, 8] {
        let (mut ours, mut theirs) = (Measured::default(), Measured::default());
        let mut others: Vec<_> = peers.iter().map(|_| Measured::default()).collect();
        for _ in 0..ROUNDS {
            theirs.add(&nginx, nginx.address, "/blob", None, clients)?;
            ours.add(&server, server.address, &path, Some(&basic()), clients)?;
            for (peer, other) in peers.iter().zip(&mut others) {
                other.add(peer, peer.address, &path, None, clients)?;
            }
        }
        let who = if clients == 1 { "one client" } else { "eight at once" };
        let rate = median(ours.rate);
        report.figure(
            &format!("pull 512 MiB, {who}"),
            (rate, "MB/s"),
            ("nginx with sendfile, MB/s", median(theirs.rate)),
            Goal::RatioAtLeast(1.1),
        )?;
        report.figure(
            &format!("processor time of that, {who}"),
            (median(ours.cost), "s/GiB"),
            ("nginx with sendfile, s/GiB", median(theirs.cost)),
            Goal::RatioAtMost(1.3),
        )?;
        for (peer, other) in peers.iter().zip(others) {
            let against = (&*format!("{}, MB/s", peer.name), median(other.rate));
            let name = format!("pull 512 MiB, {who}, and from {}", peer.name);
            report.figure(&name, (rate, "MB/s"), against, Goal::RatioAtLeast(1.0))?;
        }
    }
    Ok(())
}

impl Measured {
    /// [`PULLS`] pulls by so many clients, each over one connection.
    fn add(
        &mut self,
        server: &impl Used,
        address: SocketAddr,
        path: &str,
        authorization: Option<&str>,
        clients: usize,
    ) -> Result<()> {
        let before = server.cpu_seconds()?;
        let begin = Instant::now();
        let pulled: Result<u64> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..clients)
                .map(|_| {
                    let authorization = authorization.map(str::to_owned);
                    scope.spawn(move || {
                        let mut client = Client::connect(address, authorization)?;
                        (0..PULLS / clients).map(|_| client.download(path)).sum::<Result<u64>>()
                    })
                })
                .collect();
            let joined = clients.into_iter().map(|client| match client.join() {
                Ok(pulled) => pulled,
                Err(_) => Err(anyhow::anyhow!("a client panicked")),
            });
            joined.sum()
        });
        let (bytes, seconds) = (pulled? as f64, begin.elapsed().as_secs_f64());
        self.rate.push(bytes / 1e6 / seconds);
        self.cost.push((server.cpu_seconds()? - before) / (bytes / GIB));
        Ok(())
    }
}
