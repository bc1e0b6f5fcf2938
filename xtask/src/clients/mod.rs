//! Real clients against a real registry, end to end: what a person or a pipeline would do, nothing
//! mocked. Each client has a registry and a folder of its own, so that it can be run alone, and
//! ends with a collection and a check beside the serving process, and a check after it.

mod carry;
mod cluster;
mod cognito;
mod cosign;
mod crowd;
mod docker;
mod helm;
mod large;
mod nodes;
mod oras;
mod python;
mod redirect;
mod resume;
mod schemathesis;
mod signups;
mod upstream;

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use ureq::SendBody;

use crate::dist::work;
use crate::http::{Client, expect};
use crate::registry::{self, HOME, PASSWORD, Setup, USER};
use crate::run;
use crate::site::{Ground, Site};

/// Arguments of `cargo xtask clients`.
#[derive(Args)]
pub struct ClientsArgs {
    /// Which to run, or all: a name that there is not is answered with those there are. The long ones are
    /// part of all where `STRONGROOM_LONG` is set
    #[arg(num_args = 1.., default_value = "all")]
    clients: Vec<String>,
    /// A server to test in place of the one built from this checkout
    #[arg(long)]
    binary: Option<PathBuf>,
}

type Check = fn(&mut Scene) -> Result<()>;

/// Each client, and the grounds of the registries that it meets. Pulls from a bucket are redirected;
/// those from nodes are not.
const CLIENTS: &[(&str, Check, &[Ground])] = &[
    ("oras", oras::check, &Ground::ALL),
    ("curl", |scene| work::all(&scene.program, &scene.path("daily"), FEW), &[Ground::Folder]),
    ("resume", resume::check, &Ground::ALL),
    ("redirect", redirect::check, &[Ground::Bucket, Ground::OtherBucket]),
    ("nodes", nodes::check, &[Ground::Nodes]),
    ("crowd", crowd::check, &[Ground::Nodes]),
    ("carry", carry::check, &[Ground::Folder]),
    ("docker", docker::check, &Ground::ALL),
    ("helm", helm::check, &Ground::ALL),
    ("cosign", cosign::check, &[Ground::Folder]),
    ("signups", signups::check, &[Ground::Folder]),
    ("cognito", cognito::check, &[Ground::Folder]),
    ("large", large::check, &[Ground::Bucket]),
    ("schemathesis", schemathesis::check, &[Ground::Folder]),
    ("python", python::check, &Ground::ALL),
    ("upstream", upstream::check, &[Ground::Folder]),
];

/// How often curl does what is done thousands of times where it is counted (`cargo xtask dist`).
const FEW: usize = 50;

/// Those that run by name, or where `STRONGROOM_LONG` is set: too long for each run.
const LONG: &[&str] = &["carry", "large"];

/// How the registry of a client's test is set up.
fn setup(client: &str, ground: Ground) -> Setup {
    let setup = match ground {
        Ground::Folder => Setup::default(),
        Ground::Bucket | Ground::OtherBucket => {
            Setup::default().with("STRONGROOM_REDIRECTS_MIN_SIZE", "0B")
        }
        Ground::Nodes => Setup::default().with("STRONGROOM_REDIRECTS_ENABLED", "false"),
    };
    if client == "crowd" {
        setup.with("STRONGROOM_POSTGRES_STATEMENT_TIMEOUT", "2s")
    } else {
        setup
    }
}

/// Runs the clients asked for, each to its end whatever became of the others.
pub fn clients(args: &ClientsArgs) -> Result<()> {
    let all = args.clients.iter().any(|name| name == "all");
    for name in &args.clients {
        if name != "all" && !CLIENTS.iter().any(|(known, ..)| known == name) {
            let known: Vec<_> = CLIENTS.iter().map(|(name, ..)| *name).collect();
            bail!("there is no test of `{name}`; there are {} and all", known.join(", "));
        }
    }
    let long = std::env::var_os("STRONGROOM_LONG").is_some();
    // Those that are long tell figures.
    let figures = long || args.clients.iter().any(|name| LONG.contains(&name.as_str()));
    let program = match &args.binary {
        Some(program) => program.canonicalize()?,
        None => registry::build(if figures { registry::RELEASE } else { registry::GATE })?,
    };
    let mut failed = Vec::new();
    for (client, check, grounds) in CLIENTS {
        let wanted = all && (long || !LONG.contains(client));
        if !wanted && !args.clients.iter().any(|wanted| wanted == client) {
            continue;
        }
        for ground in *grounds {
            let name = format!("{client} ({})", ground.name());
            println!("\n--- {name}");
            let start = Instant::now();
            let result = Scene::new(&program, client, *ground).and_then(|scene| scene.play(*check));
            let took = start.elapsed().as_secs_f64();
            match result {
                Ok(()) => println!("--- {name}: passed in {took:.1} s"),
                Err(error) => {
                    println!("--- {name}: FAILED after {took:.1} s: {error:#}");
                    failed.push(format!("{name}: {error:#}"));
                }
            }
        }
    }
    if !failed.is_empty() {
        bail!("{} failed:\n{}", failed.len(), failed.join("\n"));
    }
    Ok(())
}

/// All clients, of the server built from this checkout.
pub fn all() -> Result<()> {
    clients(&ClientsArgs { clients: vec!["all".to_owned()], binary: None })
}

/// What one client's test has to itself.
struct Scene {
    program: PathBuf,
    folder: TempDir,
    ground: Ground,
    registry: Site,
}

impl Scene {
    fn new(program: &Path, client: &str, ground: Ground) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("strongroom-clients-").tempdir()?;
        let registry = Site::start(program, folder.path(), ground, setup(client, ground))?;
        Ok(Self { program: program.to_owned(), folder, ground, registry })
    }

    /// The client's test, then what every client's test ends with.
    fn play(mut self, check: Check) -> Result<()> {
        check(&mut self)
            .and_then(|()| self.end())
            .with_context(|| format!("the registry's last words:\n{}", self.registry.last_words()))
    }

    fn end(&mut self) -> Result<()> {
        self.registry.verb(&["gc"])?;
        self.registry.verb(&["fsck"])?;
        self.registry.stop()?;
        self.registry.verb(&["fsck"])
    }

    /// A path in this test's own folder.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The name a client knows a repository of this registry by.
    fn name(&self, repository: &str) -> String {
        format!("{}/{HOME}/{repository}", self.registry.address())
    }

    /// A file of at least `size` bytes: real ones, of the compiler that built us.
    fn real_file(&self, name: &str, size: u64) -> Result<PathBuf> {
        let path = self.path(name);
        let mut into = File::create(&path)?;
        let mut written = 0;
        for source in compiler_files()? {
            if written >= size {
                break;
            }
            written += std::io::copy(&mut File::open(source)?, &mut into)?;
        }
        into.flush()?;
        if written < size {
            bail!("the compiler has only {written} bytes, not {size}");
        }
        Ok(path)
    }
}

/// The folder of the compiler.
fn sysroot() -> Result<PathBuf> {
    let text = run::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(text.trim()))
}

/// Its libraries, largest first: some hundred megabytes that every machine has that builds this.
fn compiler_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(sysroot()?.join("lib"))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() {
            files.push((metadata.len(), entry.path()));
        }
    }
    files.sort_by(|one, other| other.cmp(one));
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

/// Fails unless both files have the same bytes.
fn same_bytes(one: &Path, other: &Path) -> Result<()> {
    run::show(Command::new("cmp").args([one, other]))
}

/// Length and sha256 digest, as a descriptor writes it, of all that can be read.
fn measure(reader: impl Read) -> Result<(u64, String)> {
    let mut reader = BufReader::with_capacity(1 << 20, reader);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok((length, format!("sha256:{}", const_hex::encode(hasher.finalize()))));
        }
        hasher.update(&buffer[..read]);
        length += read as u64;
    }
}

/// The page of a Python project at a registry, in the form that `accept` asks for.
fn simple_page(address: &str, project: &str, accept: &str) -> Result<String> {
    let path = format!("/pypi/{HOME}/simple/{project}/");
    let client = Client::new(address, USER, PASSWORD);
    let page = client.send("GET", &path, &[("accept", accept)], SendBody::none())?;
    Ok(expect(page, 200)?.body_mut().read_to_string()?)
}

/// Fails unless `text` has `wanted` in it.
fn contains(text: &str, wanted: &str) -> Result<()> {
    if !text.contains(wanted) {
        bail!("`{wanted}` is not in:\n{text}");
    }
    Ok(())
}
