//! CA certificates that TLS connections are verified with.

use crate::error::{Code, Error, Result};
use crate::model::escape;
use crate::system::file;
use std::path::Path;
use std::sync::Arc;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

/// Maximum size in bytes of `--ca-file`. The store of a distribution has 0.2 MiB.
const MAX_FILE: u64 = 16 << 20;

/// Returns a configuration for TLS 1.2 and 1.3 that verifies every certificate.
pub(super) fn tls(ca_file: Option<&Path>) -> Result<TlsConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(ca_certificates(ca_file)?)))
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

/// Returns the CA certificates of `ca_file`, of the system and of Mozilla.
///
/// A company's CA is only in the store of the system. On an old machine, that store can be
/// expired; Mozilla's certificates are built into this program.
fn ca_certificates(ca_file: Option<&Path>) -> Result<Vec<Certificate<'static>>> {
    let mut all = ca_file.map_or_else(|| Ok(Vec::new()), read)?;
    let system = rustls_native_certs::load_native_certs().certs;
    all.extend(system.iter().map(|der| Certificate::from_der(der).to_owned()));
    all.extend(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| Certificate::from_der(der)));
    Ok(all)
}

/// Checks `--ca-file` early. Fails if [`super::Client::new`] would fail because of it.
pub fn check_ca_file(file: &Path) -> Result<()> {
    read(file).map(drop)
}

fn read(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let shown = escape::escape(file.as_os_str().as_encoded_bytes());
    let failed = |cause| Error::io(format!("--ca-file {shown}"), cause);
    // The first call is made before the sandbox mounts file systems read-only, so a plain open
    // could update the access time.
    let content = file::read_named(file, MAX_FILE).map_err(failed)?;
    let certificates: Vec<_> = parse_pem(&content)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        let what = format!("--ca-file {shown}: no certificate found");
        return Err(Error::new(Code::Usage, what)
            .hint("pass a file in PEM format, with -----BEGIN CERTIFICATE----- lines"));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_ca_file_without_certificate_is_usage_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n")
            .unwrap();
        let error = tls(Some(file.path())).unwrap_err();
        assert_eq!(error.code, Code::Usage);
        assert!(!error.to_string().contains("secret"));
        assert_eq!(tls(Some(Path::new("/nonexistent"))).unwrap_err().code, Code::Failed);
    }

    #[test]
    fn ca_certificates_without_file_include_mozilla() {
        assert!(ca_certificates(None).unwrap().len() >= webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
    }
}
