//! Certificates: the one that this node presents, those that it accepts, and the identity that they give to a peer or
//! administrator.
//!
//! The identity is a URI in the certificate's subject alternative names: `fastness://<cluster id>/node/<node id>` for a
//! node, `fastness://<cluster id>/admin` for an administrator. A signature of the CA alone is not sufficient: a
//! client's certificate gives access to neither the peer front end nor the admin front end.
//!
//! A second URI, `fastness://<cluster id>/lab`, marks a node of a test cluster. Without it the option `lab` is refused.
//! So a line in a config file cannot put data at risk, unless the signer of the certificates has agreed.

mod policy;

use std::path::Path;
use std::sync::Arc;

use fastness_types::{ClusterId, NodeId};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::{ParsedCertificate, ServerConfig, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::config::{CertificateUser, ClientCertificates, Config};

pub use policy::{TlsPolicy, UnknownName};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A required option is not set.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A file that cannot be read or does not have the expected content.
    #[error("{option} {path}: {problem}")]
    File {
        /// The option.
        option: &'static str,
        /// Its value.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The key does not belong to the certificate, or the CA certificate is unusable.
    #[error("TLS: {0}")]
    Rustls(String),
    /// The node's own certificate does not say which cluster it belongs to.
    #[error("tls-cert-file: the certificate has no subject alternative name fastness://<cluster id>/node/<node id>")]
    NoIdentity,
    /// Nobody would accept the node's own certificate.
    #[error("tls-cert-file: the certificate is not usable as that of a {role}: {problem}")]
    Refused {
        /// Server or client.
        role: &'static str,
        /// Why not: it has expired, is not signed by a CA of `tls-ca-cert-file`, or lacks the usage.
        problem: String,
    },
    /// A protocol or cipher suite that does not exist here.
    #[error(transparent)]
    Policy(#[from] UnknownName),
}

/// The identity in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// A node of a cluster.
    Node(ClusterId, NodeId),
    /// An administrator of a cluster.
    Admin(ClusterId),
}

impl Identity {
    /// The identity in this certificate, if it has one.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Identity> {
        uris(certificate).iter().find_map(|uri| Identity::parse(uri))
    }

    fn parse(uri: &str) -> Option<Identity> {
        let (cluster, who) = uri.strip_prefix("fastness://")?.split_once('/')?;
        let cluster = cluster.parse().ok()?;
        match who.strip_prefix("node/") {
            Some(node) => Some(Identity::Node(cluster, NodeId(node.parse().ok()?))),
            None => (who == "admin").then_some(Identity::Admin(cluster)),
        }
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(self) -> ClusterId {
        match self {
            Identity::Node(cluster, _) | Identity::Admin(cluster) => cluster,
        }
    }
}

/// The names in a client's certificate that may be those of its user.
#[must_use]
pub fn user_names(certificate: &[u8], by: CertificateUser) -> Vec<String> {
    match by {
        CertificateUser::Off => Vec::new(),
        CertificateUser::Uri => uris(certificate),
        CertificateUser::CommonName => {
            let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
            // Of several the first one, as Valkey does.
            let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
            name.map(str::to_owned).into_iter().collect()
        }
    }
}

/// The URIs in a certificate's subject alternative names.
fn uris(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let uri = |name: &x509_parser::extensions::GeneralName<'_>| match name {
        x509_parser::extensions::GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(uri).collect()
}

/// The URI that marks the certificate of a test cluster (lab).
#[must_use]
pub fn lab_uri(cluster: ClusterId) -> String {
    format!("fastness://{cluster}/lab")
}

/// The content of the TLS files.
pub struct Material {
    /// The certificate chain of this node.
    pub chain: Vec<CertificateDer<'static>>,
    /// Certificates of the CA.
    pub ca: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    policy: TlsPolicy,
    /// The unparsed files, for libraries that parse PEM themselves.
    pub pem: Pem,
}

/// PEM texts.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// Certificate chain.
    pub chain: Vec<u8>,
    /// Private key.
    pub key: Vec<u8>,
    /// Certificates of the CA.
    pub ca: Vec<u8>,
}

impl Pem {
    /// Reads the files that the options name.
    ///
    /// # Errors
    /// Reports the first file that is missing or cannot be read.
    pub fn read(config: &Config) -> Result<Pem, TlsError> {
        let mut ca = match &config.tls_ca_cert_dir {
            Some(folder) => read_folder("tls-ca-cert-dir", folder)?,
            None => Vec::new(),
        };
        if config.tls_ca_cert_dir.is_none() || config.tls_ca_cert_file.is_some() {
            ca.extend(read("tls-ca-cert-file", config.tls_ca_cert_file.as_deref())?);
        }
        Ok(Pem {
            chain: read("tls-cert-file", config.tls_cert_file.as_deref())?,
            key: read("tls-key-file", config.tls_key_file.as_deref())?,
            ca,
        })
    }
}

impl Material {
    /// Reads and checks the files that the options name.
    ///
    /// # Errors
    /// Reports the first file that is missing or invalid.
    pub fn load(config: &Config) -> Result<Material, TlsError> {
        Material::of(Pem::read(config)?, config)
    }

    /// Checks what was read from the files that the options name.
    ///
    /// # Errors
    /// Reports the first file that is invalid.
    pub fn of(pem: Pem, config: &Config) -> Result<Material, TlsError> {
        let policy = TlsPolicy::of(&config.tls_protocols, &config.tls_ciphers, &config.tls_ciphersuites)?;
        let chain = certificates("tls-cert-file", config.tls_cert_file.as_deref(), &pem.chain)?;
        let key = PrivateKeyDer::from_pem_slice(&pem.key)
            .map_err(|e| file_error("tls-key-file", config.tls_key_file.as_deref(), &e.to_string()))?;
        let mut roots = RootCertStore::empty();
        let ca_path = config.tls_ca_cert_file.as_deref().or(config.tls_ca_cert_dir.as_deref());
        let ca = certificates("tls-ca-cert-file", ca_path, &pem.ca)?;
        for root in &ca {
            let refuse = |e: rustls::Error| file_error("tls-ca-cert-file", ca_path, &e.to_string());
            roots.add(root.clone()).map_err(refuse)?;
        }
        Ok(Material { chain, ca, key, roots: Arc::new(roots), policy, pem })
    }

    /// Whether others that trust the same CA accept this node's own certificate now, as that of a server and as that
    /// of a client: a node is both to its peers.
    ///
    /// # Errors
    /// [`TlsError::Refused`].
    pub fn check_own(&self) -> Result<(), TlsError> {
        let Some((own, intermediates)) = self.chain.split_first() else { return Err(TlsError::NoIdentity) };
        let refused = |role| move |e: rustls::Error| TlsError::Refused { role, problem: e.to_string() };
        let now = UnixTime::now();
        let algorithms = self.policy.provider.signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(own).map_err(refused("server"))?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)
            .map_err(refused("server"))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots.clone(), self.policy.provider.clone());
        let verifier = verifier.build().map_err(|e| TlsError::Rustls(e.to_string()))?;
        verifier.verify_client_cert(own, intermediates, now).map(drop).map_err(refused("client"))
    }

    /// The identity in this node's own certificate.
    ///
    /// # Errors
    /// [`TlsError::NoIdentity`].
    pub fn identity(&self) -> Result<(ClusterId, NodeId), TlsError> {
        match self.chain.first().and_then(|certificate| Identity::of(certificate)) {
            Some(Identity::Node(cluster, node)) => Ok((cluster, node)),
            _ => Err(TlsError::NoIdentity),
        }
    }

    /// Whether this node's own certificate marks it as part of a test cluster (lab).
    #[must_use]
    pub fn is_lab(&self) -> bool {
        let Ok((cluster, _)) = self.identity() else { return false };
        let lab = lab_uri(cluster);
        self.chain.first().is_some_and(|certificate| uris(certificate).contains(&lab))
    }

    /// The TLS configuration of the front end for clients.
    ///
    /// # Errors
    /// The key does not belong to the certificate.
    pub fn for_clients(&self, certificates: ClientCertificates) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = self.policy.provider.clone();
        let verifier = || WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider.clone());
        let rustls = |e: &dyn std::fmt::Display| TlsError::Rustls(e.to_string());
        let verifier = match certificates {
            ClientCertificates::No => WebPkiClientVerifier::no_client_auth(),
            ClientCertificates::Optional => verifier().allow_unauthenticated().build().map_err(|e| rustls(&e))?,
            ClientCertificates::Required => verifier().build().map_err(|e| rustls(&e))?,
        };
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.policy.versions)
            .map_err(|e| rustls(&e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|e| rustls(&e))?;
        Ok(Arc::new(config))
    }
}

impl Material {
    /// The TLS configuration for connections to peers: presents this node's certificate, trusts only the CA, and uses
    /// HTTP/2.
    ///
    /// # Errors
    /// The key does not belong to the certificate.
    pub fn for_peers(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| TlsError::Rustls(e.to_string()))?
            .with_root_certificates(self.roots.clone())
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|e| TlsError::Rustls(e.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    /// The TLS configuration for gRPC requests to other nodes.
    #[must_use]
    pub fn grpc_client(&self) -> tonic::transport::ClientTlsConfig {
        tonic::transport::ClientTlsConfig::new()
            .identity(tonic::transport::Identity::from_pem(&self.pem.chain, &self.pem.key))
            .ca_certificate(tonic::transport::Certificate::from_pem(&self.pem.ca))
    }

    /// The TLS configuration of the metrics port. Browsers and scrapers present no certificate.
    ///
    /// # Errors
    /// The key does not belong to the certificate.
    pub fn for_browsers(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::clone(&*self.for_clients(ClientCertificates::No)?);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// The TLS configuration of a listener for HTTP/2. A certificate that is presented must be one of the CA. Peers
    /// need one; on the port for clients and administrators, the services check it.
    ///
    /// # Errors
    /// The key does not belong to the certificate.
    pub fn for_grpc(&self, certificates: ClientCertificates) -> Result<Arc<ServerConfig>, TlsError> {
        let certificates = match certificates {
            ClientCertificates::Required => ClientCertificates::Required,
            // Administrators have to present theirs.
            ClientCertificates::Optional | ClientCertificates::No => ClientCertificates::Optional,
        };
        let mut config = ServerConfig::clone(&*self.for_clients(certificates)?);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

fn read(option: &'static str, path: Option<&Path>) -> Result<Vec<u8>, TlsError> {
    let path = path.ok_or(TlsError::Missing(option))?;
    std::fs::read(path).map_err(|e| file_error(option, Some(path), &e.to_string()))
}

/// The files of a folder, in the order of their names; hidden ones are left out.
fn read_folder(option: &'static str, folder: &Path) -> Result<Vec<u8>, TlsError> {
    let refuse = |e: std::io::Error| file_error(option, Some(folder), &e.to_string());
    let paths = std::fs::read_dir(folder).map_err(refuse)?.map(|entry| Ok(entry?.path()));
    let mut paths = paths.collect::<std::io::Result<Vec<_>>>().map_err(refuse)?;
    paths.retain(|path| {
        path.is_file() && path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
    });
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        all.extend(read(option, Some(&path))?);
        all.push(b'\n');
    }
    Ok(all)
}

fn certificates(
    option: &'static str,
    path: Option<&Path>,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(file_error(option, path, "holds no certificate in PEM")),
        Err(error) => Err(file_error(option, path, &error.to_string())),
    }
}

fn file_error(option: &'static str, path: Option<&Path>, problem: &str) -> TlsError {
    let path = path.map(|path| path.display().to_string()).unwrap_or_default();
    TlsError::File { option, path, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_certificates() {
        let cluster = ClusterId([0xab; 16]);
        assert_eq!(Identity::parse(&format!("fastness://{cluster}/node/7")), Some(Identity::Node(cluster, NodeId(7))));
        assert_eq!(Identity::parse(&format!("fastness://{cluster}/admin")), Some(Identity::Admin(cluster)));
        for bad in ["fastness://x/admin", "spiffe://a/node/1", "fastness://"] {
            assert_eq!(Identity::parse(bad), None, "{bad}");
        }
        assert_eq!(Identity::parse(&format!("fastness://{cluster}/administrator")), None);
        assert_eq!(Identity::parse(&format!("fastness://{cluster}/node/x")), None);
    }
}
