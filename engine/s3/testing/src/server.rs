//! A server with what a store and a plain client are told of it.

use std::net::{Ipv4Addr, SocketAddr};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use strongroom_s3::{Addressing, Keys, S3Options};
use strongroom_servers::{Bucket, REGION, S3Kind};

/// A running server with one bucket, ended when dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    bucket: Bucket,
}

impl Server {
    /// Starts the server that the environment names.
    ///
    /// # Panics
    /// Where it names none, or that one does not start.
    pub async fn start(kind: S3Kind) -> Self {
        let start = move || Bucket::start(kind, &kind.program()?);
        let started = tokio::task::spawn_blocking(start).await;
        let bucket = match started.expect("starting a server does not panic") {
            Ok(bucket) => bucket,
            Err(error) => panic!("{error:#}"),
        };
        Self { address: (Ipv4Addr::LOCALHOST, bucket.port()).into(), bucket }
    }

    /// Which it is.
    pub fn kind(&self) -> S3Kind {
        self.bucket.kind()
    }

    /// The name of its bucket.
    pub fn bucket(&self) -> &'static str {
        Bucket::NAME
    }

    /// Options of a store in its bucket.
    pub fn options(&self) -> S3Options {
        self.options_at(self.address)
    }

    /// The same through another address: a proxy's.
    pub fn options_at(&self, address: SocketAddr) -> S3Options {
        let mut options = S3Options::new(Bucket::NAME);
        options.region = Some(REGION.to_owned());
        options.endpoint = Some(format!("http://{address}"));
        options.addressing = Addressing::Path;
        let (id, secret) = (Bucket::KEY.to_owned(), Bucket::SECRET.to_owned());
        options.keys = Some(Keys { id, secret });
        options
    }

    /// A plain client, to look at what the store did.
    pub fn client(&self) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(format!("http://{}", self.address))
            .force_path_style(true)
            .credentials_provider(Credentials::new(
                Bucket::KEY,
                Bucket::SECRET,
                None,
                None,
                "tests",
            ))
            .build();
        Client::from_conf(config)
    }
}
