//! The client's side of TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime};

/// What the user says about TLS.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Certificates of trusted CAs, PEM; without it those that the system trusts.
    pub ca: Option<PathBuf>,
    /// The client's certificate, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// The name that the node's certificate must have, instead of the host that is connected to.
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub insecure: bool,
}

/// Why TLS cannot be used as the user says.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{path}: {error}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// A file with CA certificates contains none.
    #[error("{path}: contains no certificate", path = .0.display())]
    NoCertificate(PathBuf),
    /// The system has no trusted certificates.
    #[error("this system has no trusted CA certificates: name those of the cluster with --cacert")]
    NoSystemRoots,
    /// A certificate without a key, or the reverse.
    #[error("--cert and --key belong together: give both")]
    HalfAnIdentity,
    /// rustls does not accept the files.
    #[error(transparent)]
    Rustls(#[from] Error),
    /// Neither a host name nor an IP address.
    #[error("{name:?} is not a name that a certificate can have")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: InvalidDnsNameError,
    },
}

/// How connections over TLS are opened.
#[derive(Clone)]
pub struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    server_name: Option<String>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(files: &TlsFiles) -> Result<Tls, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = if files.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptsAny(provider)))
        } else {
            builder.with_root_certificates(roots(files.ca.as_deref())?)
        };
        let config = match (&files.certificate, &files.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let failed = |error| TlsError::File { path: key.clone(), error };
                let key = PrivateKeyDer::from_pem_file(key).map_err(failed)?;
                builder.with_client_auth_cert(certificates(certificate)?, key)?
            }
            _ => return Err(TlsError::HalfAnIdentity),
        };
        Ok(Tls { config: Arc::new(config), server_name: files.server_name.clone() })
    }

    /// The name that the certificate of a node at `host` must have.
    pub(crate) fn name_of(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|source| TlsError::Name { name: name.to_owned(), source })
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
        }
        None => {
            // A system may trust certificates that rustls does not understand; the others suffice.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoSystemRoots);
            }
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error| TlsError::File { path: path.to_owned(), error };
    let certificates = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if certificates.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(certificates) }
}

/// Accepts every certificate (`--insecure`); signatures are still checked.
#[derive(Debug)]
struct AcceptsAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptsAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(files: &TlsFiles) -> String {
        Tls::load(files).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (absent, empty) = (dir.path().join("absent"), dir.path().join("empty"));
        std::fs::write(&empty, b"no certificate").unwrap();
        assert!(refused(&TlsFiles { ca: Some(absent), ..TlsFiles::default() }).contains("absent: "));
        let text = refused(&TlsFiles { ca: Some(empty.clone()), ..TlsFiles::default() });
        assert!(text.contains("empty: contains no certificate"), "{text}");
        let half = TlsFiles { insecure: true, certificate: Some(empty.clone()), ..TlsFiles::default() };
        assert!(refused(&half).contains("belong together"));
        let key = TlsFiles { key: Some(empty), ..half };
        assert!(refused(&key).contains("empty: "), "{}", refused(&key));
    }

    #[test]
    fn the_name_is_the_host_unless_another_one_is_given() {
        let tls = |server_name| Tls::load(&TlsFiles { insecure: true, server_name, ..TlsFiles::default() }).unwrap();
        assert_eq!(tls(None).name_of("10.0.0.1").unwrap(), ServerName::try_from("10.0.0.1").unwrap());
        assert_eq!(tls(Some("db".into())).name_of("10.0.0.1").unwrap(), ServerName::try_from("db").unwrap());
        assert!(tls(None).name_of("not a name").is_err());
    }
}
