//! TLS, with certificates that are replaced without a restart.
//!
//! **Promises.** TLS 1.2 and 1.3 by rustls; HTTP/2 and HTTP/1.1 are offered. A certificate and its
//! key are taken together or not at all: files that can't be read, don't match or are half written
//! leave the old pair at work, and the log says why. Open connections keep what they have.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Why TLS could not be set up, or a new certificate not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read, or holds no PEM block of the kind that is needed.
    #[error("the {kind} in {} can't be read: {source}", .path.display())]
    File {
        /// What was looked for: `certificate` or `private key`.
        kind: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// The file has no certificate in it.
    #[error("{} holds no certificate; a PEM file is needed, the server's certificate first", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key is of no supported kind, or does not belong to the certificate.
    #[error("{} and {} do not work together: {source}", .certificate.display(), .key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS can't be set up: {0}")]
    Setup(#[source] rustls::Error),
}

/// Where the certificate is.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM: the server's certificate first, then the chain.
    pub certificate: PathBuf,
    /// PEM: the private key, PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
}

/// What a server needs to speak TLS. Clones share their certificate.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
}

struct Current {
    files: TlsFiles,
    pair: ArcSwap<CertifiedKey>,
    /// How the files were just before they were last read.
    read: Mutex<Stamp>,
}

impl Tls {
    /// Loads the certificate and its key. Blocks on the two files: call it at the start.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let read = Mutex::new(stamp(&files));
        let pair = ArcSwap::from_pointee(read_pair(&files)?);
        let current = Arc::new(Current { files, pair, read });
        let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), current })
    }

    /// Reads the files again. New connections get the new certificate; on an error, the old one.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.pair.store(Arc::new(read_pair(&self.current.files)?));
        Ok(())
    }

    /// Looks each `interval` whether the files changed, and reloads them then, for ever: to be
    /// spawned beside the server.
    pub async fn watch(self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let tls = self.clone();
            // A look that panicked is made again at the next interval.
            let _looked = tokio::task::spawn_blocking(move || tls.reload_if_changed()).await;
        }
    }

    /// Reloads if the files are not as they were when they were last read, or refused.
    fn reload_if_changed(&self) {
        let found = stamp(&self.current.files);
        let mut read = self.current.read.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *read, found) == found {
            return;
        }
        match self.reload() {
            Ok(()) => {
                tracing::info!(files = ?self.current.files, "the TLS certificate was replaced");
            }
            Err(error) => {
                let error = crate::log::chain(&error);
                tracing::error!(error, "the new TLS certificate is not taken; the old one stays");
            }
        }
    }

    pub(crate) async fn accept<S>(&self, socket: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.acceptor.accept(socket).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.current.files).finish_non_exhaustive()
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair.load_full())
    }
}

fn read_pair(files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
    let unreadable = |kind, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { kind, path, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable("certificate", &files.certificate))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: files.certificate.clone() });
    }
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable("private key", &files.key))?;
    // Also checks that the key is the certificate's.
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|source| {
        TlsError::Pair { certificate: files.certificate.clone(), key: files.key.clone(), source }
    })
}

type Stamp = [Option<(std::time::SystemTime, u64)>; 2];

/// When the files were written and how long they are.
fn stamp(files: &TlsFiles) -> Stamp {
    [&files.certificate, &files.key].map(|path| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dir: &Path) -> TlsFiles {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = TlsFiles { certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
        fs::write(&files.certificate, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    fn certificate(tls: &Tls) -> Vec<u8> {
        tls.current.pair.load().cert[0].to_vec()
    }

    #[test]
    fn a_changed_pair_is_taken_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let tls = Tls::load(written(dir.path())).unwrap();
        let first = certificate(&tls);
        tls.reload_if_changed();
        assert_eq!(certificate(&tls), first);

        written(dir.path());
        tls.reload_if_changed();
        let second = certificate(&tls);
        assert_ne!(second, first);

        fs::write(&tls.current.files.key, "half a k").unwrap();
        tls.reload_if_changed();
        assert_eq!(certificate(&tls), second);
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = written(dir.path());
        let message = |files: &TlsFiles| Tls::load(files.clone()).unwrap_err().to_string();

        fs::write(&files.certificate, "").unwrap();
        assert!(message(&files).contains("holds no certificate"), "{}", message(&files));

        let (key, other) = (files.key.clone(), tempfile::tempdir().unwrap());
        files = TlsFiles { key, ..written(other.path()) };
        assert!(message(&files).contains("do not work together"), "{}", message(&files));

        files.key = dir.path().join("absent.pem");
        assert!(message(&files).contains("private key") && message(&files).contains("absent.pem"));
    }
}
