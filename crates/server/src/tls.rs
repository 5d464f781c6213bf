//! Certificates: what this node shows, what it accepts, and who a peer or administrator is.
//!
//! Identity stands in a URI of the certificate's subject alternative names: `fastness://<cluster id>/node/<node id>`
//! for a node, `fastness://<cluster id>/admin` for an administrator. That a certificate is signed by the CA is not
//! enough: a client's certificate opens neither the peer front end nor the admin front end.
//!
//! A second URI, `fastness://<cluster id>/lab`, says that a node belongs to a cluster made for trying out: without it
//! the option `lab` is refused. So that nobody's data can be put at risk by a line in a config, the one who signs the
//! certificates has to want it, too.

use std::path::Path;
use std::sync::Arc;

use fastness_types::{ClusterId, NodeId};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{ClientCertificates, Config};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// An option is not set.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A file that is no such thing.
    #[error("{option} {path}: {problem}")]
    File {
        /// The option.
        option: &'static str,
        /// Its value.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// Certificate and key do not fit, or the CA cannot be used.
    #[error("TLS: {0}")]
    Rustls(String),
    /// The node's own certificate does not say which cluster it belongs to.
    #[error("tls-cert-file: the certificate has no subject alternative name fastness://<cluster id>/node/<node id>")]
    NoIdentity,
}

/// Whom a certificate names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// A node of a cluster.
    Node(ClusterId, NodeId),
    /// An administrator of a cluster.
    Admin(ClusterId),
}

impl Identity {
    /// Whom this certificate names, if it names somebody.
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

/// The URIs among a certificate's names.
fn uris(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let uri = |name: &x509_parser::extensions::GeneralName<'_>| match name {
        x509_parser::extensions::GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(uri).collect()
}

/// The name that makes a certificate one of a lab.
#[must_use]
pub fn lab_uri(cluster: ClusterId) -> String {
    format!("fastness://{cluster}/lab")
}

/// What the files hold.
pub struct Material {
    /// This node's certificate and what signed it.
    pub chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    /// The files as they are, for libraries that read PEM themselves.
    pub pem: Pem,
}

/// PEM texts.
#[derive(Clone)]
pub struct Pem {
    /// Certificate chain.
    pub chain: Vec<u8>,
    /// Private key.
    pub key: Vec<u8>,
    /// Certificates of the CA.
    pub ca: Vec<u8>,
}

impl Material {
    /// Reads and checks the files that the options name.
    ///
    /// # Errors
    /// The first file that is missing or wrong.
    pub fn load(config: &Config) -> Result<Material, TlsError> {
        let pem = Pem {
            chain: read("tls-cert-file", config.tls_cert_file.as_deref())?,
            key: read("tls-key-file", config.tls_key_file.as_deref())?,
            ca: read("tls-ca-cert-file", config.tls_ca_cert_file.as_deref())?,
        };
        let chain = certificates("tls-cert-file", config.tls_cert_file.as_deref(), &pem.chain)?;
        let key = PrivateKeyDer::from_pem_slice(&pem.key)
            .map_err(|e| file_error("tls-key-file", config.tls_key_file.as_deref(), &e.to_string()))?;
        let mut roots = RootCertStore::empty();
        for root in certificates("tls-ca-cert-file", config.tls_ca_cert_file.as_deref(), &pem.ca)? {
            let refuse =
                |e: rustls::Error| file_error("tls-ca-cert-file", config.tls_ca_cert_file.as_deref(), &e.to_string());
            roots.add(root).map_err(refuse)?;
        }
        Ok(Material { chain, key, roots: Arc::new(roots), pem })
    }

    /// Whom this node's own certificate names.
    ///
    /// # Errors
    /// [`TlsError::NoIdentity`].
    pub fn identity(&self) -> Result<(ClusterId, NodeId), TlsError> {
        match self.chain.first().and_then(|certificate| Identity::of(certificate)) {
            Some(Identity::Node(cluster, node)) => Ok((cluster, node)),
            _ => Err(TlsError::NoIdentity),
        }
    }

    /// Whether this node's own certificate says that it belongs to a lab.
    #[must_use]
    pub fn is_lab(&self) -> bool {
        let Ok((cluster, _)) = self.identity() else { return false };
        let lab = lab_uri(cluster);
        self.chain.first().is_some_and(|certificate| uris(certificate).contains(&lab))
    }

    /// How the TLS front end for clients behaves.
    ///
    /// # Errors
    /// Certificate and key do not fit.
    pub fn for_clients(&self, certificates: ClientCertificates) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = || WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider.clone());
        let rustls = |e: &dyn std::fmt::Display| TlsError::Rustls(e.to_string());
        let verifier = match certificates {
            ClientCertificates::No => WebPkiClientVerifier::no_client_auth(),
            ClientCertificates::Optional => verifier().allow_unauthenticated().build().map_err(|e| rustls(&e))?,
            ClientCertificates::Required => verifier().build().map_err(|e| rustls(&e))?,
        };
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| rustls(&e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|e| rustls(&e))?;
        Ok(Arc::new(config))
    }
}

impl Material {
    /// How this node connects to other nodes: shows its certificate, trusts the CA alone, speaks HTTP/2.
    ///
    /// # Errors
    /// Certificate and key do not fit.
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

    /// For requests to other nodes over gRPC.
    #[must_use]
    pub fn for_grpc_clients(&self) -> tonic::transport::ClientTlsConfig {
        tonic::transport::ClientTlsConfig::new()
            .identity(tonic::transport::Identity::from_pem(&self.pem.chain, &self.pem.key))
            .ca_certificate(tonic::transport::Certificate::from_pem(&self.pem.ca))
    }

    /// How the ports for peers and administrators behave: a certificate of the CA is required, HTTP/2 is spoken.
    ///
    /// # Errors
    /// Certificate and key do not fit.
    pub fn for_grpc(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::clone(&*self.for_clients(ClientCertificates::Required)?);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

fn read(option: &'static str, path: Option<&Path>) -> Result<Vec<u8>, TlsError> {
    let path = path.ok_or(TlsError::Missing(option))?;
    std::fs::read(path).map_err(|e| file_error(option, Some(path), &e.to_string()))
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
