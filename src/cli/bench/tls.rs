//! Whom to trust, for `wss://`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

/// Why there is no TLS.
#[derive(Debug, Error)]
pub(super) enum TlsError {
    #[error("{0:?} is no name that a certificate can be for")]
    Name(String),
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    File(PathBuf, pem::Error),
    #[error("{path} holds a certificate that cannot be used: {error}", path = .0.display(), error = .1)]
    Certificate(PathBuf, rustls::Error),
    #[error("{path} holds no certificate", path = .0.display())]
    Empty(PathBuf),
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    #[error("there are no certificates to trust on this machine; name some with --ca: {0}")]
    NoRoots(io::Error),
}

/// A client that trusts the system's certificates and those in `ca`.
pub(super) fn client(host: &str, ca: Option<&Path>) -> Result<(Arc<ClientConfig>, ServerName<'static>), TlsError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?;
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    // A system has certificates that are too old to be understood: the others do.
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca {
        let file = |error| TlsError::File(path.to_owned(), error);
        let known = roots.len();
        for certificate in CertificateDer::pem_file_iter(path).map_err(file)? {
            let certificate = certificate.map_err(file)?;
            roots.add(certificate).map_err(|error| TlsError::Certificate(path.to_owned(), error))?;
        }
        if roots.len() == known {
            return Err(TlsError::Empty(path.to_owned()));
        }
    }
    if roots.is_empty() {
        let why =
            system.errors.into_iter().next().map_or_else(|| "none were found".to_owned(), |error| error.to_string());
        return Err(TlsError::NoRoots(io::Error::other(why)));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((Arc::new(config), name))
}

/// Why a connection failed, in words that say what to do where something can be done.
pub(super) fn explain(error: &io::Error) -> String {
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidMessage(_)) => format!("no TLS is spoken there ({error})"),
        Some(rustls::Error::InvalidCertificate(_)) => format!("{error}; --ca names certificates to trust"),
        _ => error.to_string(),
    }
}
