use std::io;
use std::sync::{Arc, OnceLock};

use casemate_policy::{HostName, Origin, Scheme};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::dial::Connection;
use super::error::EgressError;

/// Whom to trust; the roots that come with the program are read at the first use.
#[derive(Default)]
pub(super) struct Tls {
    own_roots: Vec<CertificateDer<'static>>,
    config: OnceLock<Arc<ClientConfig>>,
}

/// Not a certificate that can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this cannot be a root certificate: {why}")]
#[non_exhaustive]
pub struct RootsError {
    /// What is wrong with it.
    pub why: String,
}

impl Tls {
    pub(super) fn trust(&mut self, certificate: Vec<u8>) -> Result<(), RootsError> {
        let certificate = CertificateDer::from(certificate);
        let added = RootCertStore::empty().add(certificate.clone());
        added.map_err(|error| RootsError { why: error.to_string() })?;
        self.own_roots.push(certificate);
        Ok(())
    }

    /// Puts TLS around a connection, where the origin has it.
    pub(super) async fn wrap(
        &self,
        origin: &Origin,
        connection: Box<dyn Connection>,
    ) -> Result<Box<dyn Connection>, EgressError> {
        if origin.scheme() == Scheme::Http {
            return Ok(connection);
        }
        let config = self.config.get_or_init(|| Arc::new(self.configure())).clone();
        let stream = TlsConnector::from(config).connect(server_name(origin)?, connection).await;
        Ok(Box::new(stream.map_err(|error| failure(&error))?))
    }

    fn configure(&self) -> ClientConfig {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        roots.add_parsable_certificates(self.own_roots.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        #[allow(clippy::expect_used, reason = "see the message")]
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("INVARIANT: ring has what TLS 1.2 and 1.3 need");
        builder.with_root_certificates(roots).with_no_client_auth()
    }
}

fn server_name(origin: &Origin) -> Result<ServerName<'static>, EgressError> {
    match origin.host() {
        HostName::Address(address) => Ok(ServerName::from(*address)),
        HostName::Name(name) => {
            ServerName::try_from(name.clone()).map_err(|error| EgressError::Certificate { why: error.to_string() })
        }
    }
}

fn failure(error: &io::Error) -> EgressError {
    let why = error.to_string();
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            EgressError::Certificate { why }
        }
        _ => EgressError::Tls { why },
    }
}
