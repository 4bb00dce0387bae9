//! Which certificate authorities are trusted.

use crate::error::{Code, Error, Result};
use crate::model::escape;
use crate::system::file;
use rustix::fs::{CWD, OFlags};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

/// TLS 1.2 and 1.3 with every certificate verified.
pub(super) fn tls(ca_file: Option<&Path>) -> Result<TlsConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(authorities(ca_file)?)))
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

/// The machine's own authorities (a company's is only there), Mozilla's (an old machine's own have expired),
/// and those of the file.
fn authorities(ca_file: Option<&Path>) -> Result<Vec<Certificate<'static>>> {
    let mut all = ca_file.map_or_else(|| Ok(Vec::new()), read)?;
    let own = rustls_native_certs::load_native_certs().certs;
    all.extend(own.iter().map(|der| Certificate::from_der(der).to_owned()));
    all.extend(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| Certificate::from_der(der)));
    Ok(all)
}

/// Fails as [`super::Client::new`] will.
pub fn check_ca_file(file: &Path) -> Result<()> {
    read(file).map(drop)
}

fn read(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let shown = escape::escape(file.as_os_str().as_encoded_bytes());
    let failed = |cause| Error::io(format!("--ca-file {shown}"), cause);
    // The first time this comes before file systems are read-only for this process.
    let opened = file::open_quietly(CWD, file.as_os_str().as_bytes(), OFlags::RDONLY | OFlags::CLOEXEC);
    let mut content = Vec::new();
    File::from(opened.map_err(|cause| failed(cause.into()))?).read_to_end(&mut content).map_err(failed)?;
    let certificates: Vec<_> = parse_pem(&content)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        let what = format!("--ca-file {shown}: no certificate in it");
        return Err(Error::new(Code::Usage, what).hint("it has to be PEM: -----BEGIN CERTIFICATE-----"));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n")
            .unwrap();
        let error = tls(Some(file.path())).unwrap_err();
        assert_eq!(error.code, Code::Usage);
        assert!(!error.to_string().contains("secret"));
        assert_eq!(tls(Some(Path::new("/nonexistent"))).unwrap_err().code, Code::Failed);
    }

    #[test]
    fn mozillas_authorities_are_there_without_any_file() {
        assert!(authorities(None).unwrap().len() >= webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
    }
}
