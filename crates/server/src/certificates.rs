//! The certificates that a running node uses, and their exchange without a restart.
//!
//! rustls bakes certificates, keys and trusted CAs into its configurations. So new files mean new configurations, which
//! are built and checked as a whole before the first of them replaces its predecessor. Every listener and everything
//! that opens connections takes the [`Newest`] one for each new connection; open connections keep theirs.
//!
//! The files are read every `tls-auto-reload-interval`, and when [`Certificates::reload`] is called (SIGHUP). Files
//! that are not usable change nothing: certificates of another node or cluster, expired ones, a key of another
//! certificate, a certificate that no CA of `tls-ca-cert-file` has signed. Each such change is counted and logged once.
//!
//! Certificate and key cannot be replaced in one step. So a change counts once the files have stayed the same for
//! [`SETTLED_AFTER`]: whoever copies one after the other causes no error in between.

mod newest;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_events::Event;
use fastness_types::{ClusterId, NodeId};
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::Notify;
use tonic::transport::ClientTlsConfig;

use crate::config::{ClientCertificates, Config};
use crate::shared::{NodeShared, Phase};
use crate::tls::{Material, Pem, TlsError, lab_uri};

pub use newest::Newest;
pub use status::{CertificateFacts, CertificateStatus};

/// How long changed files must stay the same before they are used.
pub const SETTLED_AFTER: Duration = Duration::from_millis(250);
/// How often changed files are read before they are used although they keep changing.
const READS_MAX: usize = 20;
/// How often it is checked whether the files are due.
const TICK: Duration = Duration::from_millis(500);
/// A certificate that expires within this time is reported in the log,
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 86_400);
/// this often.
const WARNED_EVERY: Duration = Duration::from_secs(86_400);

/// Why new files are not used.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("tls-cert-file: the certificate is the one of node {} of cluster {}", .0.1, .0.0)]
    Identity((ClusterId, NodeId)),
    #[error("tls-cert-file: lab is yes, but the certificate does not name {0}")]
    NoLab(String),
}

/// Everything that is made from one reading of the files.
struct Configurations {
    clients: Arc<ServerConfig>,
    grpc: Arc<ServerConfig>,
    metrics: Arc<ServerConfig>,
    peers: Arc<ServerConfig>,
    to_peers: Arc<ClientConfig>,
    to_nodes: Arc<ClientTlsConfig>,
}

impl Configurations {
    fn of(material: &Material, config: &Config) -> Result<Configurations, TlsError> {
        Ok(Configurations {
            clients: material.for_clients(config.tls_auth_clients)?,
            grpc: material.for_grpc(config.tls_auth_clients)?,
            metrics: material.for_browsers()?,
            peers: material.for_grpc(ClientCertificates::Required)?,
            to_peers: material.for_peers()?,
            to_nodes: Arc::new(material.grpc_client()),
        })
    }
}

/// What a node uses for new connections.
pub struct Certificates {
    /// For the listeners of `tls-port`.
    pub clients: Newest<ServerConfig>,
    /// For the listener of `grpc-port`.
    pub grpc: Newest<ServerConfig>,
    /// For the listener of `metrics-port`.
    pub metrics: Newest<ServerConfig>,
    /// For the listener of `peer-port`.
    pub peers: Newest<ServerConfig>,
    /// For connections to peers.
    pub to_peers: Newest<ClientConfig>,
    /// For gRPC requests to other nodes.
    pub to_nodes: Newest<ClientTlsConfig>,
    identity: (ClusterId, NodeId),
    is_lab: bool,
    first: (Option<CertificateFacts>, Option<CertificateFacts>),
    pem: Pem,
    reload: Notify,
}

impl Certificates {
    /// Reads the files at the start of a node.
    ///
    /// # Errors
    /// A file is missing or invalid, or the certificate names no node.
    pub fn load(config: &Config) -> Result<Certificates, TlsError> {
        let material = Material::load(config)?;
        let identity = material.identity()?;
        let made = Configurations::of(&material, config)?;
        if let Err(error) = material.check_own() {
            tracing::error!(%error, "other nodes will refuse this node's certificate");
        }
        Ok(Certificates {
            clients: made.clients.into(),
            grpc: made.grpc.into(),
            metrics: made.metrics.into(),
            peers: made.peers.into(),
            to_peers: made.to_peers.into(),
            to_nodes: made.to_nodes.into(),
            identity,
            is_lab: material.is_lab(),
            first: facts(&material),
            pem: material.pem,
            reload: Notify::new(),
        })
    }

    /// The identity in the node's certificate. It stays the same as long as the node runs.
    #[must_use]
    pub fn identity(&self) -> (ClusterId, NodeId) {
        self.identity
    }

    /// Whether the certificate that the node has started with marks it as part of a test cluster (lab).
    #[must_use]
    pub fn is_lab(&self) -> bool {
        self.is_lab
    }

    /// Reads the files now, and uses them if they have changed. Returns at once.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Reads the files whenever they are due, until the node has stopped.
    pub async fn follow(self: Arc<Self>, node: Arc<NodeShared>) {
        let (own, ca) = self.first.clone();
        node.certificates.set(own, ca);
        let mut follower =
            FileFollower { used: self.pem.clone(), refused: None, warned: None, certificates: self, node };
        let (node, mut read) = (follower.node.clone(), Instant::now());
        loop {
            let requested = tokio::select! {
                () = follower.certificates.reload.notified() => true,
                () = tokio::time::sleep(TICK) => false,
                () = node.reached(Phase::Closing) => return,
            };
            let interval = node.config.load().tls_auto_reload_interval;
            if requested || !interval.is_zero() && read.elapsed() >= interval {
                follower.check(requested).await;
                read = Instant::now();
            }
            follower.warn_of_expiry();
        }
    }

    fn replace(&self, made: Configurations) {
        self.clients.replace(made.clients);
        self.grpc.replace(made.grpc);
        self.metrics.replace(made.metrics);
        self.peers.replace(made.peers);
        self.to_peers.replace(made.to_peers);
        self.to_nodes.replace(made.to_nodes);
    }
}

/// The node's own certificate, and the first one of the CA.
fn facts(material: &Material) -> (Option<CertificateFacts>, Option<CertificateFacts>) {
    let first = |chain: &[rustls_pki_types::CertificateDer<'_>]| chain.first().and_then(|c| CertificateFacts::of(c));
    (first(&material.chain), first(&material.ca))
}

/// Takes changed files into use.
struct FileFollower {
    certificates: Arc<Certificates>,
    node: Arc<NodeShared>,
    /// The files in use.
    used: Pem,
    /// Why other ones were refused last.
    refused: Option<String>,
    /// When the log was told that the certificate expires soon.
    warned: Option<Instant>,
}

impl FileFollower {
    /// Reads the files. Without a request the log gets a line only if something has changed.
    async fn check(&mut self, requested: bool) {
        match self.take().await {
            Ok(None) => {
                self.refused = None;
                if requested {
                    tracing::info!("the TLS files have not changed");
                }
            }
            Ok(Some(own)) => {
                self.refused = None;
                self.warned = None;
                self.node.certificates.count_reload();
                let expires_in_days = own.expires_in() / 86_400;
                self.node.events.record(Event::CertificatesReloaded { serial: own.serial, expires_in_days });
            }
            Err(error) => {
                let reason = error.to_string();
                if requested || self.refused.as_ref() != Some(&reason) {
                    self.node.certificates.count_failure();
                    self.node.events.record(Event::CertificatesRefused { reason: reason.clone() });
                }
                self.refused = Some(reason);
            }
        }
    }

    /// Uses the files if they have changed; then returns what the new certificate is.
    async fn take(&mut self) -> Result<Option<CertificateFacts>, ReloadError> {
        let config = self.node.config.load_full();
        let pem = self.read_settled(&config).await?;
        if pem == self.used {
            return Ok(None);
        }
        let material = Material::of(pem, &config)?;
        let identity = material.identity()?;
        if identity != self.certificates.identity {
            return Err(ReloadError::Identity(identity));
        }
        if config.lab && !material.is_lab() {
            return Err(ReloadError::NoLab(lab_uri(identity.0)));
        }
        material.check_own()?;
        self.certificates.replace(Configurations::of(&material, &config)?);
        let (own, ca) = facts(&material);
        self.node.certificates.set(own.clone(), ca);
        self.used = material.pem;
        Ok(own)
    }

    /// Reads the files until they are those in use, or have stayed the same for [`SETTLED_AFTER`].
    async fn read_settled(&self, config: &Arc<Config>) -> Result<Pem, TlsError> {
        let mut last = read(config.clone()).await;
        for _ in 0..READS_MAX {
            if last.as_ref().is_ok_and(|pem| *pem == self.used) {
                break;
            }
            tokio::time::sleep(SETTLED_AFTER).await;
            let next = read(config.clone()).await;
            let same = match (&last, &next) {
                (Ok(last), Ok(next)) => last == next,
                (Err(last), Err(next)) => last.to_string() == next.to_string(),
                _ => false,
            };
            last = next;
            if same {
                break;
            }
        }
        last
    }

    /// Writes to the log, once a day, that the certificate in use expires soon.
    fn warn_of_expiry(&mut self) {
        let Some(own) = self.node.certificates.own() else { return };
        let soon = own.expires_in() < EXPIRY_WARNING.as_secs() as i64;
        if soon && self.warned.is_none_or(|warned| warned.elapsed() >= WARNED_EVERY) {
            let (serial, seconds_left) = (own.serial.clone(), own.expires_in());
            self.node.events.record(Event::CertificateExpires { serial, seconds_left });
            self.warned = Some(Instant::now());
        }
    }
}

/// Reads the files on a thread that may wait for a disk.
async fn read(config: Arc<Config>) -> Result<Pem, TlsError> {
    let read = tokio::task::spawn_blocking(move || Pem::read(&config)).await;
    read.unwrap_or_else(|interrupted| Err(TlsError::Rustls(interrupted.to_string())))
}
