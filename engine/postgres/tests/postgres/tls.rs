//! Each `sslmode` does what libpq says of it.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

use crate::support::{Server, quick};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use strongroom_postgres::{PostgresOptions, PostgresStore};

/// An authority, and a server's certificate of it for these names.
fn certificates(names: &[&str]) -> (String, String, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::from_params(&params, &authority_key);
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    (authority.pem(), certificate.pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mode_trusts_as_much_as_it_says() {
    let mut server = Server::start();
    let plain = server.url("public");
    let mode = |mode: &str, roots: Option<&std::path::Path>| -> PostgresOptions {
        let roots =
            roots.map_or_else(String::new, |path| format!("&sslrootcert={}", path.display()));
        quick(format!("{plain}&sslmode={mode}{roots}"))
    };
    // Without TLS at the server.
    PostgresStore::migrate(&mode("prefer", None)).await.unwrap();
    PostgresStore::open(mode("require", None)).await.unwrap_err();

    let (ours, certificate, key) = certificates(&["127.0.0.1"]);
    let (others, ..) = certificates(&["127.0.0.1"]);
    let (our_roots, other_roots) = (server.folder().join("ours"), server.folder().join("others"));
    std::fs::write(&our_roots, ours).unwrap();
    std::fs::write(&other_roots, others).unwrap();
    install(&server, &certificate, &key);
    server.execute("ALTER SYSTEM SET ssl = on").await;
    server.crash();
    server.run().unwrap();

    for (name, roots) in [
        ("disable", None),
        ("prefer", None),
        ("require", None),
        ("require", Some(&our_roots)),
        ("verify-ca", Some(&our_roots)),
        ("verify-full", Some(&our_roots)),
    ] {
        let opened = PostgresStore::open(mode(name, roots.map(PathBuf::as_path))).await;
        assert!(opened.is_ok(), "{name} {roots:?}: {opened:?}");
    }
    for name in ["require", "verify-ca", "verify-full"] {
        let opened = PostgresStore::open(mode(name, Some(&other_roots))).await;
        assert!(opened.is_err(), "{name} trusts another authority");
    }

    // Another host's certificate, of an authority that is trusted.
    let (authority, certificate, key) = certificates(&["db.example"]);
    std::fs::write(&our_roots, authority).unwrap();
    install(&server, &certificate, &key);
    server.crash();
    server.run().unwrap();
    PostgresStore::open(mode("verify-ca", Some(&our_roots))).await.unwrap();
    PostgresStore::open(mode("verify-full", Some(&our_roots))).await.unwrap_err();
}

#[tokio::test]
async fn an_address_that_can_not_be_read_is_refused_without_repeating_a_password() {
    for url in ["mysql://u:secret@h/d", "postgres://u:secret@h/d?sslmode=maybe", "u:secret"] {
        let refused = PostgresStore::open(PostgresOptions::new(url)).await.unwrap_err();
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
}

fn install(server: &Server, certificate: &str, key: &str) {
    let owner = std::fs::metadata(server.data()).unwrap();
    for (name, text) in [("server.crt", certificate), ("server.key", key)] {
        let path = server.data().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
}
