//! The client of the admin service: connects with an admin certificate, and follows redirects to the leader.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use fastness_control::LEADER_METADATA;
use fastness_wire::admin::v1::admin_service_client::AdminServiceClient;
use fastness_wire::admin::v1::{
    CreateClusterRequest, CreateClusterResponse, DescribeClusterRequest, DescribeClusterResponse, HandOverRequest,
    HandOverResponse, ListEventsRequest, ListEventsResponse, MakeSnapshotsRequest, MakeSnapshotsResponse,
    ReplaceNodeRequest, ReplaceNodeResponse, RotateMasterKeyRequest, RotateMasterKeyResponse, SetDurabilityRequest,
    SetDurabilityResponse, ShowFiguresRequest, ShowFiguresResponse, ShowMasterKeyRequest, ShowMasterKeyResponse,
};
use fastness_wire::lab::v1::lab_service_client::LabServiceClient;
use fastness_wire::lab::v1::{SetDiskFaultRequest, SetLinkFaultRequest, ShowFaultsRequest, ShowFaultsResponse};
use futures::future::select_ok;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

/// Time limit of connecting.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// Time limit of a call; a creation waits for an election.
const CALL_PATIENCE: Duration = Duration::from_secs(45);
/// Time limit of connecting to one node, or of a call to it that only reads.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// How many redirects a call follows: leadership may move meanwhile.
const REDIRECTS_MAX: usize = 8;
/// Pause before a call is repeated to the same node.
const PAUSE: Duration = Duration::from_millis(200);

/// The caller's certificate, and the CA that it trusts.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The CA's certificate.
    pub ca: PathBuf,
    /// The admin certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Credentials {
    fn tls(&self) -> Result<ClientTlsConfig> {
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        Ok(ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(&self.ca)?))
            .identity(Identity::from_pem(read(&self.certificate)?, read(&self.key)?)))
    }
}

/// Client of one cluster's admin service.
#[derive(Debug, Clone)]
pub struct Admin {
    tls: ClientTlsConfig,
    /// Where nodes are reached whose own addresses, the keys, are not.
    mapped: BTreeMap<String, String>,
}

impl Admin {
    /// Reads the credentials.
    pub fn new(credentials: &Credentials) -> Result<Admin> {
        Ok(Admin { tls: credentials.tls()?, mapped: BTreeMap::new() })
    }

    /// A client that reaches some nodes elsewhere than they are named.
    pub fn with_mapped(self, mapped: BTreeMap<String, String>) -> Admin {
        Admin { mapped, ..self }
    }

    async fn connect(&self, address: &str) -> Result<AdminServiceClient<Channel>> {
        Ok(AdminServiceClient::new(self.channel(address).await?))
    }

    async fn channel(&self, address: &str) -> Result<Channel> {
        let reached = self.mapped.get(address).map_or(address, String::as_str);
        let endpoint = Endpoint::from_shared(format!("https://{reached}"))
            .with_context(|| format!("{address:?} is not host:port"))?
            .connect_timeout(CONNECT_PATIENCE)
            .timeout(CALL_PATIENCE)
            .tls_config(self.tls.clone())
            .context("the certificates are not usable")?;
        // The limit of the endpoint ends with the TCP connection, and a node that is stopped answers no TLS handshake.
        let connected = tokio::time::timeout(CONNECT_PATIENCE, endpoint.connect()).await;
        let connected = connected.map_err(|_| anyhow!("cannot reach {reached}: it answers no TLS handshake"))?;
        connected.map_err(|e| anyhow!("cannot reach {reached}: {}", causes(&e)))
    }

    /// A connection to one node, for several calls.
    pub async fn node(&self, address: &str) -> Result<NodeAdmin> {
        let client = in_time(address, self.connect(address)).await?;
        Ok(NodeAdmin { address: address.to_owned(), client })
    }

    /// The cluster as one node sees it.
    pub async fn describe(&self, address: &str) -> Result<DescribeClusterResponse> {
        in_time(address, async { self.node(address).await?.describe().await }).await
    }

    /// The cluster as the node sees it that answers first: those that do not answer are not waited for.
    pub async fn describe_first(&self, addresses: &[String]) -> Result<DescribeClusterResponse> {
        ensure!(!addresses.is_empty(), "no node address is known");
        let calls = addresses.iter().map(|address| Box::pin(self.describe(address)));
        let (map, _) = select_ok(calls).await?;
        Ok(map)
    }

    /// Creates the cluster.
    pub async fn create(&self, address: &str, request: CreateClusterRequest) -> Result<CreateClusterResponse> {
        self.call_leader(address, |mut client| {
            let request = request.clone();
            async move { client.create_cluster(request).await }
        })
        .await
    }

    /// Hands over a shard's leadership.
    pub async fn hand_over(&self, address: &str, request: HandOverRequest) -> Result<HandOverResponse> {
        self.call_leader(address, |mut client| async move { client.hand_over(request).await }).await
    }

    /// Replaces a node with another one in the cluster's map.
    pub async fn replace_node(&self, address: &str, request: ReplaceNodeRequest) -> Result<ReplaceNodeResponse> {
        self.call_leader(address, |mut client| {
            let request = request.clone();
            async move { client.replace_node(request).await }
        })
        .await
    }

    /// Starts snapshots of a node's replicas.
    pub async fn make_snapshots(&self, address: &str, request: MakeSnapshotsRequest) -> Result<MakeSnapshotsResponse> {
        let answer = self.connect(address).await?.make_snapshots(request).await;
        Ok(answer.map_err(|status| refusal(address, &status))?.into_inner())
    }

    /// Which master key a node's disk is under.
    pub async fn show_master_key(&self, address: &str) -> Result<ShowMasterKeyResponse> {
        let answer = self.connect(address).await?.show_master_key(ShowMasterKeyRequest {}).await;
        Ok(answer.map_err(|status| refusal(address, &status))?.into_inner())
    }

    /// Puts a node's disk under its new master key.
    pub async fn rotate_master_key(&self, address: &str) -> Result<RotateMasterKeyResponse> {
        let answer = self.connect(address).await?.rotate_master_key(RotateMasterKeyRequest {}).await;
        Ok(answer.map_err(|status| refusal(address, &status))?.into_inner())
    }

    /// Changes the durability mode, and waits until it is in force.
    pub async fn set_durability(&self, address: &str, request: SetDurabilityRequest) -> Result<SetDurabilityResponse> {
        self.call_leader(address, |mut client| {
            let request = request.clone();
            async move { client.set_durability(request).await }
        })
        .await
    }

    async fn lab(&self, address: &str) -> Result<LabServiceClient<Channel>> {
        Ok(LabServiceClient::new(self.channel(address).await?))
    }

    /// Sets the fault of a node's disk.
    pub async fn set_disk_fault(&self, address: &str, request: SetDiskFaultRequest) -> Result<()> {
        let answer = self.lab(address).await?.set_disk_fault(request).await;
        answer.map(drop).map_err(|status| refusal(address, &status))
    }

    /// Sets the faults of the link from a node to another one.
    pub async fn set_link_fault(&self, address: &str, request: SetLinkFaultRequest) -> Result<()> {
        let answer = self.lab(address).await?.set_link_fault(request).await;
        answer.map(drop).map_err(|status| refusal(address, &status))
    }

    /// The faults that are set on a node.
    pub async fn show_faults(&self, address: &str) -> Result<ShowFaultsResponse> {
        let answer = self.lab(address).await?.show_faults(ShowFaultsRequest {}).await;
        Ok(answer.map_err(|status| refusal(address, &status))?.into_inner())
    }

    /// Calls the node at `address`, then the nodes that the refusals name as the leader.
    async fn call_leader<A, F>(&self, address: &str, call: impl Fn(AdminServiceClient<Channel>) -> F) -> Result<A>
    where
        F: Future<Output = Result<tonic::Response<A>, Status>>,
    {
        let mut address = address.to_owned();
        for _ in 0..REDIRECTS_MAX {
            let status = match call(self.connect(&address).await?).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            let leader = status.metadata().get(LEADER_METADATA).and_then(|value| value.to_str().ok());
            match leader.filter(|leader| !leader.is_empty()) {
                Some(leader) if leader == address => tokio::time::sleep(PAUSE).await,
                Some(leader) => address = leader.to_owned(),
                None => return Err(refusal(&address, &status)),
            }
        }
        bail!("leadership moved during the call (last node called: {address}): try again")
    }
}

/// A connection to one node, for calls that only read. Their time limit is short, so that a stalled node does not delay
/// a caller that calls every node.
#[derive(Debug, Clone)]
pub struct NodeAdmin {
    address: String,
    client: AdminServiceClient<Channel>,
}

impl NodeAdmin {
    /// The cluster as the node sees it.
    pub async fn describe(&self) -> Result<DescribeClusterResponse> {
        let mut client = self.client.clone();
        self.read(client.describe_cluster(DescribeClusterRequest {})).await
    }

    /// A page of the node's journal.
    pub async fn list_events(&self, request: ListEventsRequest) -> Result<ListEventsResponse> {
        let mut client = self.client.clone();
        self.read(client.list_events(request)).await
    }

    /// Figures of the node and of its replicas.
    pub async fn show_figures(&self, request: ShowFiguresRequest) -> Result<ShowFiguresResponse> {
        let mut client = self.client.clone();
        self.read(client.show_figures(request)).await
    }

    async fn read<A>(&self, call: impl Future<Output = Result<tonic::Response<A>, Status>>) -> Result<A> {
        let answer = async { call.await.map_err(|status| refusal(&self.address, &status)) };
        Ok(in_time(&self.address, answer).await?.into_inner())
    }
}

/// Bounds the time of a call to one node.
async fn in_time<A>(address: &str, call: impl Future<Output = Result<A>>) -> Result<A> {
    let late = || Err(anyhow!("{address} did not answer in time"));
    tokio::time::timeout(READ_PATIENCE, call).await.unwrap_or_else(|_| late())
}

/// The error of a refused or failed call.
fn refusal(address: &str, status: &Status) -> anyhow::Error {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            anyhow!("{address} refuses this certificate: {}", status.message())
        }
        Code::DeadlineExceeded | Code::Cancelled => anyhow!("{address} did not answer in time"),
        _ => anyhow!("{}", status.message()),
    }
}

/// An error and its causes, on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that is stopped: its kernel accepts connections, and nobody answers.
    #[tokio::test]
    async fn a_node_that_answers_no_handshake_is_given_up() {
        let stopped = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = stopped.local_addr().unwrap().to_string();
        let admin = Admin { tls: ClientTlsConfig::new(), mapped: BTreeMap::new() };
        let error = admin.channel(&address).await.unwrap_err().to_string();
        assert_eq!(error, format!("cannot reach {address}: it answers no TLS handshake"));
    }
}
