//! From a target to a connection: look the name up once, check every address it has, and connect to
//! one of those that were checked.
//!
//! A name that answered a public address when it was asked first and another one later (DNS rebinding)
//! gains nothing: there is no second question between the check and the connection.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::IpNet;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::address::may_reach;
use crate::target::Target;

/// The most addresses of one name that are looked at.
const MAX_ADDRESSES: usize = 16;
/// The most of them that are tried.
const MAX_TRIED: usize = 3;

/// Looks names up.
#[async_trait]
pub trait Resolver: Send + Sync + fmt::Debug {
    /// The addresses of a host, which may be one itself.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).take(MAX_ADDRESSES).collect())
    }
}

/// Why no connection came about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// An address of the host is none that may be reached from here.
    #[error("leads to an address that is not public; the operator may allow it")]
    Forbidden,
    /// The host has no address.
    #[error("the host has no address")]
    Unresolved,
    /// Nobody takes a connection.
    #[error("takes no connection")]
    Unreachable,
    /// The other side can't prove who it is, or speaks no TLS.
    #[error("has no TLS that can be trusted")]
    Tls,
    /// There is no certificate to trust, so nobody could be believed.
    #[error("TLS can't be set up: {0}")]
    Setup(String),
}

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes connections.
pub struct Connector {
    resolver: Arc<dyn Resolver>,
    tls: TlsConnector,
    allowed: Vec<IpNet>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Connector {
    /// One that trusts whom the system trusts, and reaches what is public or in one of the `allowed`
    /// networks.
    pub fn new(resolver: Arc<dyn Resolver>, allowed: Vec<IpNet>) -> Result<Self, ConnectError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ConnectError::Setup(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { resolver, tls: TlsConnector::from(Arc::new(config)), allowed })
    }

    /// Connects, or says why not. Takes as long as it takes: the caller bounds it.
    pub async fn connect(&self, target: &Target) -> Result<Box<dyn Stream>, ConnectError> {
        let addresses = self.checked(target).await?;
        let mut stream = Err(ConnectError::Unreachable);
        for address in addresses.into_iter().take(MAX_TRIED) {
            stream = TcpStream::connect(address).await.map_err(|_| ConnectError::Unreachable);
            if stream.is_ok() {
                break;
            }
        }
        let stream = stream?;
        // A request is one small write; waiting for more of it only costs time.
        let _slower = stream.set_nodelay(true);
        if !target.is_https() {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(target.host().to_owned()).map_err(|_| ConnectError::Tls)?;
        let stream = self.tls.connect(name, stream).await.map_err(|_| ConnectError::Tls)?;
        Ok(Box::new(stream))
    }

    /// The addresses of a target, all of which may be reached; else none of them is.
    async fn checked(&self, target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
        let found = self.resolver.resolve(target.host()).await;
        let found = found.ok().filter(|found| !found.is_empty()).ok_or(ConnectError::Unresolved)?;
        if !found.iter().all(|address| may_reach(*address, &self.allowed)) {
            return Err(ConnectError::Forbidden);
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, target.port())).collect())
    }
}
