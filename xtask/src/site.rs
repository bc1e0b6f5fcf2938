//! A registry with all that it stands on: the folder of one process, a bucket, or a bucket and a
//! database under two nodes that share one address.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use strongroom_servers::{Bucket, Database, RoundRobin};

use crate::http::Client;
use crate::registry::{PASSWORD, Registry, Setup, USER};
use crate::servers;

/// Where a registry keeps what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// All in the data folder.
    Folder,
    /// Bytes in a bucket, facts in the data folder.
    Bucket,
    /// The same in a bucket of another service.
    OtherBucket,
    /// Bytes in a bucket and facts in a database, under two nodes; each request reaches another one.
    Nodes,
}

impl Ground {
    /// One of each kind.
    pub const ALL: [Self; 3] = [Self::Folder, Self::Bucket, Self::Nodes];

    /// Its name in what is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Bucket => "s3",
            Self::OtherBucket => "s3-versitygw",
            Self::Nodes => "s3-postgres-nodes",
        }
    }
}

/// A running registry; all of it ends when this is dropped.
pub struct Site {
    nodes: Vec<Registry>,
    proxy: Option<RoundRobin>,
    _bucket: Option<Bucket>,
    database: Option<Database>,
}

impl Site {
    /// Starts `program` with its data below `folder`, and waits until it answers.
    pub fn start(program: &Path, folder: &Path, ground: Ground, setup: Setup) -> Result<Self> {
        let bucket = match ground {
            Ground::Folder => None,
            Ground::Bucket | Ground::Nodes => Some(servers::minio()?),
            Ground::OtherBucket => Some(servers::versitygw()?),
        };
        let setup = bucket.iter().fold(setup, Setup::on_bucket);
        let start = |name: &str, setup: &Setup| {
            let (data, log) = (folder.join(name), folder.join(format!("{name}.log")));
            Registry::start_with(program, &data, &log, setup.clone())
        };
        if ground != Ground::Nodes {
            let nodes = vec![start("data", &setup)?];
            return Ok(Self { nodes, proxy: None, _bucket: bucket, database: None });
        }
        let database = servers::database()?;
        let key = folder.join("master");
        // As random as a test needs it: all zeros would do, but look like a mistake.
        std::fs::write(&key, [7_u8; 32])?;
        let setup = setup
            .on_database(&database)
            .with("STRONGROOM_IDENTITY_MASTER_KEY_FILE", key.to_string_lossy());
        Registry::once(program, &["migrate"], &folder.join("one"), &setup)?;
        let nodes = vec![start("one", &setup)?, start("two", &setup)?];
        let addresses: Vec<_> = nodes.iter().map(|node| node.address().to_owned()).collect();
        let proxy = Some(servers::round_robin(&addresses)?);
        Ok(Self { nodes, proxy, _bucket: bucket, database: Some(database) })
    }

    /// `127.0.0.1:PORT`, of the one node or of what stands before all.
    pub fn address(&self) -> String {
        match &self.proxy {
            Some(proxy) => proxy.address(),
            None => self.first().address().to_owned(),
        }
    }

    /// A plain HTTP client, signed in as [`USER`].
    pub fn client(&self) -> Client {
        Client::new(&self.address(), USER, PASSWORD)
    }

    /// The nodes, to be killed and started again.
    pub fn nodes(&mut self) -> &mut [Registry] {
        &mut self.nodes
    }

    /// The database below them.
    pub fn database(&mut self) -> Result<&mut Database> {
        self.database.as_mut().context("this registry has no database")
    }

    /// The process, where there is one.
    pub fn pid(&self) -> Result<Pid> {
        self.first().pid()
    }

    /// `kill -9` of the first node.
    pub fn kill(&mut self) -> Result<()> {
        self.first_mut().kill()
    }

    /// Starts it again.
    pub fn restart(&mut self) -> Result<()> {
        self.first_mut().restart()
    }

    /// Runs a verb beside the first node, or after it ended.
    pub fn verb(&self, verb: &[&str]) -> Result<()> {
        self.first().verb(verb)
    }

    /// What a verb tells, run as [`Self::verb`] runs it.
    pub fn told(&self, verb: &[&str]) -> Result<String> {
        self.first().output(verb)
    }

    /// Asks all nodes to end, and fails unless they end well.
    pub fn stop(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(Registry::stop)
    }

    /// The end of what the nodes printed.
    pub fn last_words(&self) -> String {
        self.nodes.iter().map(Registry::last_words).collect()
    }

    /// Fails where a node ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if let Some(status) = node.ended()? {
                bail!("a node ended with {status}:\n{}", node.last_words());
            }
        }
        Ok(())
    }

    fn first(&self) -> &Registry {
        self.nodes.first().expect("a site has at least one node")
    }

    fn first_mut(&mut self) -> &mut Registry {
        self.nodes.first_mut().expect("a site has at least one node")
    }
}
