//! Builds clients.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::metadata::{Ascii, MetadataValue};
use tower::{BoxError, Layer, Service, ServiceExt as _};

use crate::calls::ClientCore;
use crate::channels::{ChannelError, ChannelPool, ChannelWrapper, NodeChannel, Security};
use crate::client::Client;
use crate::error::ClientError;
use crate::follower::TopologyFollower;
use crate::idempotency::KeySource;
use crate::observe::CallObserver;
use crate::retry::{RetryBudget, RetryOptions};

/// How long a call may take by default.
const DEADLINE: Duration = Duration::from_secs(5);
/// How many bytes a pipeline or a watch holds for its caller by default.
const HELD_BYTES: usize = 16 * 1024 * 1024;

/// The part of `cluster.json` (written by `fastness dev`, and by `make lab`) that clients need.
#[derive(Deserialize)]
struct DevCluster {
    nodes: Vec<DevNode>,
    /// PEM file.
    ca: PathBuf,
    /// Password of the user `default`, where the cluster has one.
    password: Option<String>,
}

#[derive(Deserialize)]
struct DevNode {
    /// `host:port`.
    grpc: String,
    /// The address by which the nodes name this one, where that is not reached from here: the nodes are in containers.
    grpc_announced: Option<String>,
}

/// Options of a client; see [`Client::builder`].
#[derive(Clone)]
pub struct ClientBuilder {
    addresses: Vec<String>,
    /// Where nodes are reached whose own addresses are not.
    mapped: HashMap<String, String>,
    cluster_file: Option<PathBuf>,
    ca_pem: Option<Vec<u8>>,
    identity_pem: Option<(Vec<u8>, Vec<u8>)>,
    plaintext: bool,
    password: Option<(String, String)>,
    az: Option<String>,
    deadline: Duration,
    retries: RetryOptions,
    held_bytes: usize,
    observer: Option<Arc<dyn CallObserver>>,
    wrappers: Vec<ChannelWrapper>,
}

impl Client {
    /// Options of a new client. At least one address and the CA are needed, or the file of a development cluster.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            addresses: Vec::new(),
            mapped: HashMap::new(),
            cluster_file: None,
            ca_pem: None,
            identity_pem: None,
            plaintext: false,
            password: None,
            az: None,
            deadline: DEADLINE,
            retries: RetryOptions::default(),
            held_bytes: HELD_BYTES,
            observer: None,
            wrappers: Vec::new(),
        }
    }
}

impl ClientBuilder {
    /// Adds a node's gRPC listener, as `host:port`. Several make sure that the cluster is found while nodes are down;
    /// the others are learned from them.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> ClientBuilder {
        self.addresses.push(address.into());
        self
    }

    /// Takes all addresses, the CA and the password from the `cluster.json` of a development cluster (`fastness dev`,
    /// `make lab`). A CA that is set with [`ClientBuilder::ca_certificate`] takes precedence, and so does a
    /// [`ClientBuilder::password`].
    #[must_use]
    pub fn cluster_file(mut self, path: impl Into<PathBuf>) -> ClientBuilder {
        self.cluster_file = Some(path.into());
        self
    }

    /// The certificates, in PEM, that the certificates of the nodes must lead to.
    #[must_use]
    pub fn ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> ClientBuilder {
        self.ca_pem = Some(pem.into());
        self
    }

    /// The client's own certificate and its private key, in PEM, where the cluster requires one.
    #[must_use]
    pub fn identity(mut self, certificate_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> ClientBuilder {
        self.identity_pem = Some((certificate_pem.into(), key_pem.into()));
        self
    }

    /// Sends everything unencrypted, and does not check whom it talks to. For tests on one machine: only loopback
    /// addresses are called, those that nodes name as well.
    #[must_use]
    pub fn plaintext(mut self) -> ClientBuilder {
        self.plaintext = true;
        self
    }

    /// User (`default` where the cluster has no users) and password, which are sent with each call.
    #[must_use]
    pub fn password(mut self, user: impl Into<String>, password: impl Into<String>) -> ClientBuilder {
        self.password = Some((user.into(), password.into()));
        self
    }

    /// The availability zone in which the client runs, as the nodes of that zone have it
    /// (`availability-zone`): where [`ReadConsistency::AzLocal`](crate::ReadConsistency::AzLocal) reads.
    #[must_use]
    pub fn az(mut self, az: impl Into<String>) -> ClientBuilder {
        self.az = Some(az.into());
        self
    }

    /// How long a call may take in all, with its retries; 5 s by default, at most a day.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> ClientBuilder {
        self.deadline = deadline;
        self
    }

    /// When and how often calls are tried again.
    #[must_use]
    pub fn retries(mut self, retries: RetryOptions) -> ClientBuilder {
        self.retries = retries;
        self
    }

    /// How many bytes of results a [`Pipeline`](crate::Pipeline), or of events a [`WatchStream`](crate::WatchStream),
    /// holds that were received and that its caller has not taken; 16 MiB by default. At this bound it reads no
    /// further, so that the bounds of the nodes apply: a pipeline's node runs no further operations, and a watch is cut
    /// off by its node and continues where it was once events are taken.
    ///
    /// Each pipeline and each watch has this bound for itself. It is exceeded by the last result or event that is held:
    /// one is held however long it is. The connection holds 256 KiB more of each stream.
    #[must_use]
    pub fn held_bytes(mut self, bytes: usize) -> ClientBuilder {
        self.held_bytes = bytes;
        self
    }

    /// Who learns of each finished call, for metrics. The last one that is set counts.
    #[must_use]
    pub fn observer(mut self, observer: impl CallObserver + 'static) -> ClientBuilder {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Wraps the connection to each node in a layer of tower's, around the layers that were added before. It sees each
    /// attempt of a call as an HTTP request, for instance to add a header, to limit concurrency, or to fail some in a
    /// test. So it does with the stream by which the client follows the topology (its path ends with
    /// `TopologyService/WatchTopology`). Retries and redirects of the client are outside of it: a layer must not repeat
    /// requests itself.
    ///
    /// ```
    /// use fastness_client::testing::MockServer;
    /// use tower::util::MapRequestLayer;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = MockServer::start().await?;
    /// let tag = MapRequestLayer::new(|mut request: tonic::codegen::http::Request<tonic::body::Body>| {
    ///     request.headers_mut().insert("x-team", tonic::codegen::http::HeaderValue::from_static("payments"));
    ///     request
    /// });
    /// let client = server.client_builder().layer(tag).build()?;
    /// client.set("a", "1").await?;
    /// assert_eq!(server.calls()[0].headers.get("x-team").map(String::as_str), Some("payments"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> ClientBuilder
    where
        L: Layer<NodeChannel> + Send + Sync + 'static,
        L::Service: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request<Body>>>::Error: Into<BoxError>,
        <L::Service as Service<Request<Body>>>::Future: Send + 'static,
    {
        self.wrappers.push(Arc::new(move |channel| NodeChannel::new(layer.layer(channel).map_err(ChannelError::new))));
        self
    }

    /// Checks the options and builds the client. Connections are made when they are first used, within a tokio runtime.
    /// Reads the file of a development cluster, if there is one, and blocks meanwhile.
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: an option is missing or wrong, or a file cannot be read.
    pub fn build(mut self) -> Result<Client, ClientError> {
        if let Some(path) = self.cluster_file.take() {
            self.read_cluster_file(path)?;
        }
        if self.deadline.is_zero() {
            return Err(ClientError::invalid("the deadline is zero"));
        }
        let RetryOptions { backoff_min, backoff_max, budget_per_call, .. } = self.retries;
        if backoff_min > backoff_max || !budget_per_call.is_finite() || budget_per_call < 0.0 {
            return Err(ClientError::invalid("retries: backoff_min <= backoff_max, and budget_per_call >= 0"));
        }
        let authorization = self.password.map(|(user, password)| authorization(&user, &password)).transpose()?;
        let security = match (self.plaintext, self.ca_pem, self.identity_pem) {
            // Without one, the TLS library trusts nobody, and says so with each connection.
            (false, Some(ca_pem), _) if !has_certificate(&ca_pem) => {
                return Err(ClientError::invalid("the CA has no certificate in PEM"));
            }
            (false, Some(ca_pem), identity_pem) => Security::Tls { ca_pem, identity_pem },
            (false, None, _) => return Err(ClientError::invalid("a CA certificate is needed")),
            (true, None, None) => Security::Plaintext,
            (true, ..) => return Err(ClientError::invalid("plaintext, or certificates; not both")),
        };
        Ok(Client::new(Arc::new(ClientCore {
            pool: ChannelPool::new(security, &self.addresses, self.mapped, self.wrappers)?,
            slots: Default::default(),
            az: self.az,
            reads: AtomicUsize::new(0),
            topology: TopologyFollower::default(),
            authorization,
            retries: self.retries,
            budget: RetryBudget::new(&self.retries),
            deadline: self.deadline,
            held_bytes: self.held_bytes,
            observer: self.observer,
            keys: KeySource::new(),
        })))
    }

    fn read_cluster_file(&mut self, path: PathBuf) -> Result<(), ClientError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| ClientError::invalid(format!("{}: {error}", path.display())))
        };
        let cluster: DevCluster = serde_json::from_slice(&read(&path)?)
            .map_err(|error| ClientError::invalid(format!("{}: {error}", path.display())))?;
        for DevNode { grpc, grpc_announced } in cluster.nodes {
            if let Some(announced) = &grpc_announced {
                self.mapped.insert(announced.clone(), grpc.clone());
            }
            self.addresses.push(grpc_announced.unwrap_or(grpc));
        }
        if self.password.is_none() {
            self.password = cluster.password.map(|password| ("default".to_owned(), password));
        }
        if self.ca_pem.is_none() && !self.plaintext {
            // A relative path starts at the file.
            let ca = path.parent().map_or_else(|| cluster.ca.clone(), |folder| folder.join(&cluster.ca));
            self.ca_pem = Some(read(&ca)?);
        }
        Ok(())
    }
}

fn has_certificate(pem: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    pem.windows(BEGIN.len()).any(|window| window == BEGIN)
}

/// The header that carries user and password; it is not shown in logs.
fn authorization(user: &str, password: &str) -> Result<MetadataValue<Ascii>, ClientError> {
    if user.contains(':') {
        return Err(ClientError::invalid("a user's name has no colon"));
    }
    let header = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let mut value = MetadataValue::try_from(header).map_err(|_| ClientError::invalid("the password"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[track_caller]
    fn refused(builder: ClientBuilder, text: &str) {
        let error = builder.build().unwrap_err();
        assert!(matches!(&error, ClientError::Invalid { message } if message.contains(text)), "{error}");
    }

    #[test]
    fn wrong_options_are_refused() {
        let some = || Client::builder().address("127.0.0.1:1").plaintext();
        some().build().unwrap();
        refused(Client::builder().plaintext(), "at least one address");
        refused(Client::builder().address("127.0.0.1:1"), "CA certificate");
        refused(some().ca_certificate("pem"), "not both");
        refused(Client::builder().address("127.0.0.1").plaintext(), "loopback");
        refused(Client::builder().address("10.0.0.1:1").plaintext(), "loopback");
        refused(some().deadline(Duration::ZERO), "deadline");
        refused(some().retries(RetryOptions { budget_per_call: f64::NAN, ..Default::default() }), "budget_per_call");
        let backoff_min = Duration::from_secs(60);
        refused(some().retries(RetryOptions { backoff_min, ..Default::default() }), "backoff_min");
        refused(some().password("a:b", "secret"), "colon");
        refused(Client::builder().cluster_file("/none/cluster.json"), "/none/cluster.json");
    }

    #[test]
    fn user_and_password_are_one_header() {
        let value = authorization("default", "secret").unwrap();
        assert_eq!(value.to_str().unwrap(), "Basic ZGVmYXVsdDpzZWNyZXQ=");
        assert!(value.is_sensitive() && !format!("{value:?}").contains("ZGVm"));
    }

    #[test]
    fn a_development_cluster_is_read_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cluster.json");
        std::fs::write(&file, r#"{"nodes": [{"id": 1, "grpc": "127.0.0.1:7"}], "ca": "ca.crt", "shards": 3}"#).unwrap();
        refused(Client::builder().cluster_file(&file), "ca.crt");
        std::fs::write(folder.path().join("ca.crt"), "nothing").unwrap();
        refused(Client::builder().cluster_file(&file), "no certificate");
        let broken = "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n";
        std::fs::write(folder.path().join("ca.crt"), broken).unwrap();
        refused(Client::builder().cluster_file(&file), "127.0.0.1:7");
        let node = r#"{"grpc": "127.0.0.1:7", "grpc_announced": "node-a:2"}"#;
        std::fs::write(&file, format!(r#"{{"nodes": [{node}], "ca": "ca.crt", "password": "secret"}}"#)).unwrap();
        refused(Client::builder().cluster_file(&file), "node-a:2");
        std::fs::write(&file, "{}").unwrap();
        refused(Client::builder().cluster_file(&file), "nodes");
    }
}
