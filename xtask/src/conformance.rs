//! The official conformance suite of the distribution spec: what every client may rely on. Run
//! for the released version of the spec and for the one in the making, as a signed-in user, over HTTP
//! and over HTTPS, on each ground that a registry can stand on.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::registry::{self, CERTIFICATE, HOME, PASSWORD, Setup, USER};
use crate::site::{Ground, Site};
use crate::{tools, workspace};

/// Arguments of `cargo xtask conformance`.
#[derive(Args)]
pub struct ConformanceArgs {
    /// A server to test in place of the one built from this checkout
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Run only the ways whose name has this in it (as `s3-stable`)
    #[arg(long)]
    only: Option<String>,
}

/// The versions of the spec, each with every optional check that has a setting switched on.
const VERSIONS: &[(&str, &[(&str, &str)])] = &[
    (
        "stable",
        &[
            ("OCI_VERSION", "1.1"),
            ("OCI_API_BLOBS_UPLOAD_CANCEL", "true"),
            ("OCI_API_BLOBS_DIGEST_HEADER", "true"),
            ("OCI_API_MANIFESTS_DIGEST_HEADER", "true"),
        ],
    ),
    (
        "dev",
        &[
            ("OCI_VERSION", "dev"),
            ("OCI_API_MANIFESTS_TAG_PARAM", "true"),
            ("OCI_DATA_SPARSE", "true"),
        ],
    ),
];

/// How clients reach the server.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Transport {
    Http,
    Https,
}

/// One way that a server is run.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Way {
    ground: Ground,
    transport: Transport,
    /// Whether pulls of blobs are sent on to the bucket.
    redirects: bool,
}

impl Way {
    const fn plain(ground: Ground) -> Self {
        Self { ground, transport: Transport::Http, redirects: false }
    }

    fn name(self, version: &str) -> String {
        let over = if self.transport == Transport::Https { "-https" } else { "" };
        let redirects = if self.redirects { "-redirects" } else { "" };
        format!("{}-{version}{over}{redirects}", self.ground.name())
    }
}

/// The ways, each with all versions.
const WAYS: &[Way] = &[
    Way::plain(Ground::Folder),
    Way { transport: Transport::Https, ..Way::plain(Ground::Folder) },
    Way::plain(Ground::Bucket),
    Way { redirects: true, ..Way::plain(Ground::Bucket) },
    Way::plain(Ground::OtherBucket),
    Way::plain(Ground::Nodes),
];

/// Where pulls are redirected the last answer is the bucket's, which knows no header with the digest;
/// that the 307 has it is a test of the clients'.
const NO_DIGEST_AT_THE_BUCKET: (&str, &str) = ("OCI_API_BLOBS_DIGEST_HEADER", "false");

/// All runs, against the server built from this checkout.
pub fn all() -> Result<()> {
    conformance(&ConformanceArgs { binary: None, only: None })
}

/// All runs; the reports stay in `target/conformance/`.
pub fn conformance(args: &ConformanceArgs) -> Result<()> {
    let suite = tools::CONFORMANCE.find()?;
    let program = match &args.binary {
        Some(program) => program.canonicalize()?,
        None => registry::build(registry::GATE)?,
    };
    let mut failed = Vec::new();
    for way in WAYS {
        for (version, settings) in VERSIONS {
            let name = way.name(version);
            if args.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
                continue;
            }
            let results = workspace::target()?.join("conformance").join(&name);
            if let Err(error) = run(&suite, &program, *way, settings, &results) {
                println!("--- {name}: {error:#}");
                failed.push(format!("{name}: {error:#}"));
            }
        }
    }
    if !failed.is_empty() {
        bail!("{} failed:\n{}", failed.len(), failed.join("\n"));
    }
    Ok(())
}

/// One run on a registry of its own: what another run left might hide a fault, or look like one.
fn run(
    suite: &Path,
    program: &Path,
    way: Way,
    settings: &[(&str, &str)],
    results: &Path,
) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("strongroom-conformance-").tempdir()?;
    if results.exists() {
        std::fs::remove_dir_all(results)?;
    }
    std::fs::create_dir_all(results)?;
    let mut settings = settings.to_vec();
    let mut setup = Setup::default();
    if way.redirects {
        settings.push(NO_DIGEST_AT_THE_BUCKET);
        setup = setup.with("STRONGROOM_REDIRECTS_MIN_SIZE", "0B");
    } else {
        setup = setup.with("STRONGROOM_REDIRECTS_ENABLED", "false");
    }
    if way.transport == Transport::Https {
        setup = setup.with_tls(folder.path())?;
    }
    let mut registry = Site::start(program, folder.path(), way.ground, setup)?;
    // Both versions have indexes that name what is not there, where a registry takes them.
    registry.verb(&["registry", "set", HOME, "--sparse-indexes", "true"])?;
    judge(suite, &registry.address(), way.transport, &settings, folder.path(), results)
        .with_context(|| format!("the registry's last words:\n{}", registry.last_words()))?;
    registry.stop()
}

/// Runs the suite against whoever answers at `address`, and fails where it finds something to say.
fn judge(
    suite: &Path,
    address: &str,
    transport: Transport,
    settings: &[(&str, &str)],
    folder: &Path,
    results: &Path,
) -> Result<()> {
    let mut command = Command::new(suite);
    match transport {
        Transport::Http => command.env("OCI_TLS", "disabled"),
        // The certificate is its own authority, the only one that this run knows.
        Transport::Https => command
            .env("OCI_TLS", "enabled")
            .env("SSL_CERT_FILE", folder.join(CERTIFICATE))
            .env("SSL_CERT_DIR", folder.join("none")),
    };
    let output = command
        .current_dir(folder)
        .env("OCI_REGISTRY", address)
        .env("OCI_REPO1", format!("{HOME}/one"))
        .env("OCI_REPO2", format!("{HOME}/deep/er/two"))
        .env("OCI_USERNAME", USER)
        .env("OCI_PASSWORD", PASSWORD)
        .env("OCI_RESULTS_DIR", results)
        .envs(settings.iter().copied())
        .output()
        .context("starting the conformance suite")?;
    std::fs::write(results.join("output.log"), [&output.stdout[..], &output.stderr].concat())?;
    let name = results.file_name().unwrap_or_default().to_string_lossy();
    let junit = std::fs::read_to_string(results.join("junit.xml"))
        .with_context(|| format!("the suite wrote no results, see {}", results.display()))?;
    let counts = Counts::read(&junit)?;
    println!(
        "conformance {name}: {} cases, {} failures, {} errors, {} skipped, {} disabled ({})",
        counts.cases,
        counts.failures,
        counts.errors,
        counts.skipped,
        counts.disabled,
        output.status
    );
    for case in &counts.not_passed {
        println!("    {case}");
    }
    if counts.cases == 0 {
        bail!("no case was run");
    }
    if counts.skipped + counts.disabled > 0 {
        bail!("some cases were left out: an API that they need is missing or switched off");
    }
    if counts.failures + counts.errors > 0 || !output.status.success() {
        bail!("not conformant; the report is {}", results.join("report.html").display());
    }
    Ok(())
}

/// What the suite's `junit.xml` file says. It has no `<failure>` elements: the totals and each case's
/// `status` are what counts, and must agree.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    cases: u64,
    failures: u64,
    errors: u64,
    skipped: u64,
    disabled: u64,
    /// The cases that failed or broke, by name.
    not_passed: Vec<String>,
}

impl Counts {
    fn read(junit: &str) -> Result<Self> {
        let document = roxmltree::Document::parse(junit).context("reading junit.xml")?;
        let totals = document.root_element();
        let total = |name: &str| totals.attribute(name).map_or(Ok(0), str::parse);
        let mut counts = Self {
            cases: total("tests")?,
            failures: total("failures")?,
            errors: total("errors")?,
            skipped: total("skipped")?,
            disabled: total("disabled")?,
            not_passed: Vec::new(),
        };
        for case in totals.descendants().filter(|node| node.has_tag_name("testcase")) {
            let status = case.attribute("status").unwrap_or("without a status");
            if status != "passed" && status != "skipped" {
                let class = case.attribute("classname").unwrap_or_default();
                let name = case.attribute("name").unwrap_or_default();
                counts.not_passed.push(format!("{class}/{name}: {status}"));
            }
        }
        if !counts.not_passed.is_empty() && counts.failures + counts.errors == 0 {
            bail!("the totals know of no failure, the cases do: {:?}", counts.not_passed);
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_and_named() -> Result<()> {
        let junit = r#"<testsuites tests="4" failures="1" skipped="1" disabled="1"><testsuite>
            <testcase name="a" classname="c" status="passed"/>
            <testcase name="b" classname="c" status="failure"/>
            <testcase name="d" classname="c" status="skipped"/></testsuite></testsuites>"#;
        let counts = Counts::read(junit)?;
        assert_eq!((counts.cases, counts.failures, counts.errors), (4, 1, 0));
        assert_eq!((counts.skipped, counts.disabled), (1, 1));
        assert_eq!(counts.not_passed, ["c/b: failure"]);
        Ok(())
    }

    #[test]
    fn cases_that_failed_behind_fair_totals_are_an_error() {
        let junit = r#"<testsuites tests="1"><testsuite>
            <testcase name="a" classname="c" status="error"/></testsuite></testsuites>"#;
        assert!(Counts::read(junit).is_err());
    }
}
