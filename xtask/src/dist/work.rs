//! What a registry does all day, done once, by curl: pushes and pulls of images, by password and by token,
//! lists, referrers and Python packages, in the clear and over TLS. Whatever is not done here is laid
//! out as seldom used: how often each thing is done matters less than that it is.

use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::{Digest, Sha256};
use strongroom_servers::wait;

use crate::content::Content;
use crate::registry::{CERTIFICATE, HOME, PASSWORD, Registry, Setup, USER};
use crate::{run, tools};

/// The folder of the counts, in the one that [`all`] was given.
pub const COUNTS: &str = "counts";

const REPOSITORY: &str = "daily/image";
/// Where tokens are given out, and what one is asked for.
const TOKEN: &str = "/v2/token";
const SCOPE: &str = "service=strongroom&scope=repository:default/main/daily/image:pull";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LARGE: u64 = 48 << 20;
const SMALL: u64 = 3 << 10;
/// How many images are pushed, each of a layer of its own.
const IMAGES: u64 = 100;
/// How many versions of a Python package are uploaded.
const VERSIONS: usize = 20;
/// How many requests at once.
const AT_ONCE: &str = "16";

/// How often what is done often is done: all of it is a minute's work for a program that counts.
const TIMES: usize = 5_000;

/// The variable that tells a program that counts where its counts go.
const COUNTS_GO: &str = "LLVM_PROFILE_FILE";

/// Has a registry do all of it, so often that the counts tell what matters.
pub fn registry(program: &Path, folder: &Path) -> Result<()> {
    all(program, folder, TIMES)
}

/// Has `program` do it all, what is done often some `times`; its counts, where it counts, are in [`COUNTS`] of
/// `folder` then. Fails where an answer is not as it has to be.
pub fn all(program: &Path, folder: &Path, times: usize) -> Result<()> {
    tools::curl()?;
    let setup = Setup::default().with(COUNTS_GO, counts_in(folder).to_string_lossy());
    let plain = Work::start(program, folder.join("plain"), "http", |_| Ok(setup.clone()))?;
    plain.images(times)?;
    plain.packages(times / 5)?;
    plain.end()?;
    let tls = Work::start(program, folder.join("tls"), "https", |at| setup.clone().with_tls(at))?;
    tls.images(times / 5)?;
    tls.end()
}

/// Has the server of the benches that only answers do what it does.
pub fn bare(program: &Path, folder: &Path) -> Result<()> {
    tools::curl()?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let mut command = Command::new(program);
    command.args([&address, "500"]).env(COUNTS_GO, counts_in(folder));
    let mut child = command.spawn()?;
    // Until it is there.
    let patient = ["--retry", "10", "--retry-connrefused"];
    let at_once = ["-Z", "--parallel-max", AT_ONCE];
    let address = format!("http://{address}/");
    let asked = ask(curl().args(patient), &address, TIMES, "200")
        .and_then(|()| ask(curl().args(at_once), &address, TIMES, "200"));
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    let status = wait(&mut child)?;
    asked?;
    ensure!(status.is_some_and(|status| status.success()), "it did not end well: {status:?}");
    Ok(())
}

fn counts_in(folder: &Path) -> PathBuf {
    folder.join(COUNTS).join("%m_%p.profraw")
}

/// A registry, and what is pushed to it.
struct Work {
    registry: Registry,
    folder: PathBuf,
    scheme: &'static str,
}

/// Bytes in a file.
struct Blob {
    file: PathBuf,
    digest: String,
    size: usize,
}

impl Work {
    fn start(
        program: &Path,
        folder: PathBuf,
        scheme: &'static str,
        setup: impl FnOnce(&Path) -> Result<Setup>,
    ) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let setup = setup(&folder)?;
        let (data, log) = (folder.join("data"), folder.join("log"));
        let registry = Registry::start_with(program, &data, &log, setup)?;
        Ok(Self { registry, folder, scheme })
    }

    /// Pushes images, and asks for what they consist of, `times` each.
    fn images(&self, times: usize) -> Result<()> {
        let config = self.blob("config", b"{}")?;
        self.push_whole(&config)?;
        let large = self.blob("large", &content(0, LARGE)?)?;
        self.push_streamed(&large)?;
        let mut manifest = self.manifest(&config, &large)?;
        for number in 1..=IMAGES {
            let layer = self.blob("layer", &content(number, SMALL)?)?;
            self.push_whole(&layer)?;
            manifest = self.manifest(&config, &layer)?;
            self.push_manifest(&manifest, &format!("v{number}"))?;
        }
        self.push_manifest(&manifest, "latest")?;
        self.push_manifest(&manifest, &format!("t[1-{times}]"))?;

        let few = times / 10;
        let repository = format!("/v2/{HOME}/{REPOSITORY}");
        let digest = &manifest.digest;
        let latest = format!("{repository}/manifests/latest");
        let large = format!("{repository}/blobs/{}", large.digest);
        let accept = format!("Accept: {MANIFEST}");
        let known = format!("If-None-Match: \"{digest}\"");
        let by_password = ["-u", &format!("{USER}:{PASSWORD}")];
        let by_token = ["-H", &format!("Authorization: Bearer {}", self.token()?)];
        for who in [&by_password, &by_token] {
            let asked: [(&[&str], &str, usize, &str); 9] = [
                (&["-H", &accept], &latest, times * 2, "200"),
                (&["-H", &accept, "-Z", "--parallel-max", AT_ONCE], &latest, times * 2, "200"),
                (&["-H", &accept], &format!("{repository}/manifests/{digest}"), times, "200"),
                (&["-H", &accept, "-I"], &latest, times, "200"),
                (&["-H", &accept, "-H", &known], &latest, few, "304"),
                (&[], &format!("{repository}/blobs/{}", config.digest), times, "200"),
                (&[], &large, 3, "200"),
                (&["-r", "1000-200000"], &large, few, "206"),
                (&["-I"], &large, few, "200"),
            ];
            for (options, path, times, status) in asked {
                self.ask(&[&who[..], options].concat(), path, times, status)?;
            }
        }
        for (path, status) in [
            ("/v2/", "200"),
            (&*format!("{repository}/tags/list?n=100&last=t2"), "200"),
            (&format!("{repository}/referrers/{digest}"), "200"),
            (&format!("{repository}/manifests/absent"), "404"),
            ("/v2/_catalog?n=10", "200"),
            (&format!("{TOKEN}?{SCOPE}"), "200"),
        ] {
            self.ask(&by_password, path, few, status)?;
        }
        // What clients begin with: nobody.
        self.ask(&[], "/v2/", few, "401")
    }

    /// Uploads versions of a Python package, and asks for its page `times`.
    fn packages(&self, times: usize) -> Result<()> {
        let index = format!("/pypi/{HOME}");
        for version in 1..=VERSIONS {
            let name = format!("daily-1.{version}");
            let inside = self.folder.join(&name);
            std::fs::create_dir_all(&inside)?;
            let about = format!("Metadata-Version: 2.2\nName: daily\nVersion: 1.{version}\n");
            std::fs::write(inside.join("PKG-INFO"), about)?;
            std::fs::write(inside.join("pyproject.toml"), "[build-system]\nrequires = []\n")?;
            let archive = self.folder.join(format!("{name}.tar.gz"));
            let mut tar = Command::new("tar");
            tar.arg("-C").arg(&self.folder).arg("-czf").arg(&archive).arg(&name);
            run::output(&mut tar)?;
            let sha256 = const_hex::encode(Sha256::digest(std::fs::read(&archive)?));
            let fields = [
                ":action=file_upload".to_owned(),
                "protocol_version=1".to_owned(),
                "metadata_version=2.2".to_owned(),
                "name=daily".to_owned(),
                format!("version=1.{version}"),
                "filetype=sdist".to_owned(),
                format!("sha256_digest={sha256}"),
                format!("content=@{}", archive.display()),
            ];
            let mut curl = self.curl();
            curl.args(fields.iter().flat_map(|field| ["-F", field]));
            run::output(curl.arg(self.address(&format!("{index}/legacy/"))))?;
        }
        let user = ["-u", &format!("{USER}:{PASSWORD}")];
        let page = format!("{index}/simple/daily/");
        for accept in ["application/vnd.pypi.simple.v1+json", "text/html"] {
            let accept = format!("Accept: {accept}");
            let asked = [&user[..], &["-H", &accept]].concat();
            let compressed = [&asked[..], &["-H", "Accept-Encoding: gzip"]].concat();
            self.ask(&asked, &page, times, "200")?;
            self.ask(&compressed, &page, times, "200")?;
            self.ask(&asked, &format!("{index}/simple/"), times / 10, "200")?;
        }
        Ok(())
    }

    /// What is done beside requests; then it ends well, since what was counted is written then.
    fn end(mut self) -> Result<()> {
        self.registry.verb(&["gc"])?;
        self.registry.verb(&["fsck"])?;
        self.registry.stop()
    }

    /// Asks `times` for a path; fails unless each answer has this status.
    fn ask(&self, options: &[&str], path: &str, times: usize, status: &str) -> Result<()> {
        ask(self.anonymous().args(options), &self.address(path), times, status)
    }

    /// In one request.
    fn push_whole(&self, blob: &Blob) -> Result<()> {
        let path = format!("/v2/{HOME}/{REPOSITORY}/blobs/uploads/?digest={}", blob.digest);
        let mut curl = self.curl();
        curl.args(["-H", "Content-Type: application/octet-stream", "--data-binary"]);
        curl.arg(format!("@{}", blob.file.display()));
        run::output(curl.arg(self.address(&path))).map(drop)
    }

    /// As docker does: begun, streamed without a length, and ended. And once more, from a file.
    fn push_streamed(&self, blob: &Blob) -> Result<()> {
        let path = format!("/v2/{HOME}/{REPOSITORY}/blobs/uploads/");
        let begun = self.location(self.curl().args(["-X", "POST"]).arg(self.address(&path)))?;
        let mut curl = self.curl();
        curl.args(["-X", "PATCH", "-H", "Transfer-Encoding: chunked", "-T"]).arg(&blob.file);
        let streamed = self.location(curl.arg(begun))?;
        let more = if streamed.contains('?') { '&' } else { '?' };
        let mut curl = self.curl();
        curl.args(["-X", "PUT"]).arg(format!("{streamed}{more}digest={}", blob.digest));
        run::output(&mut curl)?;
        self.push_whole(blob)
    }

    fn push_manifest(&self, manifest: &Blob, tag: &str) -> Result<()> {
        let mut curl = self.curl();
        curl.args(["-H", &format!("Content-Type: {MANIFEST}"), "-o", "/dev/null", "-T"]);
        curl.arg(&manifest.file);
        let path = format!("/v2/{HOME}/{REPOSITORY}/manifests/{tag}");
        run::output(curl.arg(self.address(&path))).map(drop)
    }

    fn manifest(&self, config: &Blob, layer: &Blob) -> Result<Blob> {
        let describe = |blob: &Blob, kind: &str| serde_json::json!({ "mediaType": kind, "digest": blob.digest, "size": blob.size });
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": describe(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [describe(layer, "application/vnd.oci.image.layer.v1.tar")],
        });
        self.blob("manifest", manifest.to_string().as_bytes())
    }

    fn token(&self) -> Result<String> {
        let told = run::output(self.curl().arg(self.address(&format!("{TOKEN}?{SCOPE}"))))?;
        let told: Value = serde_json::from_str(&told)?;
        Ok(told["token"].as_str().context("no token in the answer")?.to_owned())
    }

    fn blob(&self, name: &str, bytes: &[u8]) -> Result<Blob> {
        let file = self.folder.join(name);
        std::fs::write(&file, bytes)?;
        let digest = format!("sha256:{}", const_hex::encode(Sha256::digest(bytes)));
        Ok(Blob { file, digest, size: bytes.len() })
    }

    /// The address that a command's answer names.
    fn location(&self, curl: &mut Command) -> Result<String> {
        let head = run::output(curl.args(["-D", "-", "-o", "/dev/null"]))?;
        let location = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("location").then(|| value.trim())
        });
        let location = location.with_context(|| format!("no location in the answer:\n{head}"))?;
        Ok(if location.starts_with('/') { self.address(location) } else { location.to_owned() })
    }

    /// curl, as the user, for whom an error is one.
    fn curl(&self) -> Command {
        let mut curl = self.anonymous();
        curl.args(["--fail-with-body", "--fail-early", "-u", &format!("{USER}:{PASSWORD}")]);
        curl
    }

    fn anonymous(&self) -> Command {
        let mut curl = curl();
        if self.scheme == "https" {
            curl.arg("--cacert").arg(self.folder.join(CERTIFICATE));
        }
        curl
    }

    fn address(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.registry.address())
    }
}

/// curl, with nothing of this machine's settings.
fn curl() -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-q", "--silent", "--show-error", "--noproxy", "*"]);
    curl
}

/// Asks `times` for an address, over connections that stay; fails unless each answer has this status.
fn ask(curl: &mut Command, address: &str, times: usize, status: &str) -> Result<()> {
    curl.args(["-o", "/dev/null", "-w", "%{http_code}\n"]);
    // What is behind `#` is not sent: it makes one address many.
    curl.arg(format!("{address}#[1-{times}]"));
    let answers = run::output(curl)?;
    if let Some(other) = answers.lines().find(|answer| *answer != status) {
        bail!("{address} was answered {other}, not {status}");
    }
    Ok(())
}

fn content(number: u64, size: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Content::new(number, 0, size).read_to_end(&mut bytes)?;
    Ok(bytes)
}
