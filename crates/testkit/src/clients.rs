//! The clients of a run: each speaks RESP, calls the gRPC API by its generated stubs, or uses the Rust SDK, on the same
//! keys as the others.
//!
//! ```text
//! words.rs      a command as a typed operation of the gRPC API, and its response as the reply that RESP would give
//! outcome.rs    what a gRPC status or an error of the SDK says about a write
//! grpc.rs       a client of the stubs: one attempt for each call, and a table of primaries that it learns from MOVED
//! sdk.rs        a client of the SDK, which repeats by itself what is safe to repeat
//! tally.rs      operations by outcome
//! ```
//!
//! Requests are the commands of RESP for all of them, and so are replies: workloads and checkers know nothing of what a
//! client speaks. An attempt that a client reports as failed has certainly not happened; whatever may have happened is
//! [`Outcome::Unknown`](fastness_load::Outcome::Unknown).

mod grpc;
mod outcome;
mod sdk;
mod tally;
mod words;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fastness_client::RetryOptions;
use fastness_load::{Access, Caller, Client, Endpoint, SharedTopology, Tls};
use fastness_resp::Protocol;

use crate::cluster::Cluster;

pub use grpc::{GrpcClient, GrpcFailure, GrpcNodes};
pub use outcome::{outcome_of_reason, outcome_of_sdk, outcome_of_status};
pub use sdk::SdkClient;
pub use tally::{Counts, Tallied, Tally};

/// How a client reaches the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientKind {
    /// RESP.
    Resp,
    /// The generated stubs of the gRPC API, without any retry.
    Grpc,
    /// The Rust SDK.
    Sdk,
}

impl ClientKind {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ClientKind::Resp => "resp",
            ClientKind::Grpc => "grpc",
            ClientKind::Sdk => "sdk",
        }
    }
}

/// How one client of a run behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// RESP in this version.
    Resp(Protocol),
    /// gRPC.
    Grpc {
        /// Whether it lets any node pass its calls on to the primary, instead of following MOVED.
        forwards: bool,
    },
    /// The SDK.
    Sdk {
        /// Whether its writes have idempotency keys, so that it repeats those of unknown outcome.
        keyed: bool,
    },
}

impl Dialect {
    /// What it speaks.
    #[must_use]
    pub fn kind(self) -> ClientKind {
        match self {
            Dialect::Resp(_) => ClientKind::Resp,
            Dialect::Grpc { .. } => ClientKind::Grpc,
            Dialect::Sdk { .. } => ClientKind::Sdk,
        }
    }
}

/// Which kinds of clients a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMix {
    /// RESP only.
    Resp,
    /// gRPC only.
    Grpc,
    /// The SDK only.
    Sdk,
    /// All of them: of four clients in a row two speak RESP, one gRPC, and one is the SDK.
    Mixed,
}

const RESP: [Dialect; 2] = [Dialect::Resp(Protocol::Resp3), Dialect::Resp(Protocol::Resp2)];
const GRPC: [Dialect; 2] = [Dialect::Grpc { forwards: false }, Dialect::Grpc { forwards: true }];
const SDK: [Dialect; 2] = [Dialect::Sdk { keyed: true }, Dialect::Sdk { keyed: false }];
const MIXED: [Dialect; 8] = [RESP[0], GRPC[0], RESP[1], SDK[0], RESP[0], GRPC[1], RESP[1], SDK[1]];

impl ClientMix {
    /// The names on the command line.
    pub const NAMES: [&'static str; 4] = ["resp", "grpc", "sdk", "mixed"];

    /// The mix with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<ClientMix> {
        [ClientMix::Resp, ClientMix::Grpc, ClientMix::Sdk, ClientMix::Mixed].into_iter().find(|mix| mix.name() == name)
    }

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ClientMix::Resp => "resp",
            ClientMix::Grpc => "grpc",
            ClientMix::Sdk => "sdk",
            ClientMix::Mixed => "mixed",
        }
    }

    /// How the client with this number behaves. Any four in a row are all kinds of a mixed run.
    #[must_use]
    pub fn dialect(self, number: usize) -> Dialect {
        let dialects = match self {
            ClientMix::Resp => &RESP[..],
            ClientMix::Grpc => &GRPC[..],
            ClientMix::Sdk => &SDK[..],
            ClientMix::Mixed => &MIXED[..],
        };
        dialects[number % dialects.len()]
    }

    /// The kinds that take part.
    pub fn kinds(self) -> impl Iterator<Item = ClientKind> {
        let all = [ClientKind::Resp, ClientKind::Grpc, ClientKind::Sdk];
        all.into_iter().filter(move |kind| (0..MIXED.len()).any(|number| self.dialect(number).kind() == *kind))
    }
}

/// What gRPC clients of one cluster share.
pub struct GrpcApi {
    /// The nodes, for clients of the stubs.
    pub nodes: GrpcNodes,
    /// The SDK, whose clones share connections.
    pub sdk: fastness_client::Client,
}

/// How the clients of a run reach the cluster.
#[derive(Clone)]
pub struct RunAccess {
    /// Endpoints from which RESP clients learn the topology.
    pub seeds: Vec<Endpoint>,
    /// TLS of RESP clients, if wanted; gRPC always has it.
    pub tls: Option<Tls>,
    /// A later reply counts as unknown.
    pub timeout: Duration,
    /// Which clients there are.
    mix: ClientMix,
    /// `None`: all of them speak RESP.
    grpc: Option<Arc<GrpcApi>>,
}

impl RunAccess {
    /// Clients that speak RESP.
    #[must_use]
    pub fn resp(seeds: Vec<Endpoint>, tls: Option<Tls>, timeout: Duration) -> RunAccess {
        RunAccess { seeds, tls, timeout, mix: ClientMix::Resp, grpc: None }
    }

    /// Clients of these kinds. `tls`: whether those of RESP use it.
    ///
    /// # Errors
    /// If the cluster's files cannot be read.
    pub fn of(cluster: &Cluster, mix: ClientMix, tls: bool, timeout: Duration) -> Result<RunAccess> {
        let seeds = if tls { cluster.tls_servers()? } else { cluster.listeners()? };
        let tls = tls.then(|| cluster.tls()).transpose()?;
        let grpc = if mix == ClientMix::Resp { None } else { Some(Arc::new(GrpcApi::of(cluster)?)) };
        Ok(RunAccess { seeds, tls, timeout, mix, grpc })
    }

    /// Which clients there are.
    #[must_use]
    pub fn mix(&self) -> ClientMix {
        self.mix
    }

    /// What gRPC clients share, if there are any.
    #[must_use]
    pub fn grpc(&self) -> Option<Arc<GrpcApi>> {
        self.grpc.clone()
    }

    /// How RESP clients reach the cluster.
    #[must_use]
    pub fn access(&self, protocol: Protocol) -> Access {
        Access { seeds: self.seeds.clone(), tls: self.tls.clone(), protocol, timeout: self.timeout }
    }

    /// The client with this number.
    #[must_use]
    pub fn client(&self, number: usize, topology: &SharedTopology) -> AnyClient {
        let dialect = self.mix.dialect(number);
        match (dialect, &self.grpc) {
            (Dialect::Grpc { forwards }, Some(grpc)) => {
                AnyClient::Grpc(GrpcClient::new(grpc.nodes.clone(), forwards, self.timeout))
            }
            (Dialect::Sdk { keyed }, Some(grpc)) => {
                AnyClient::Sdk(Box::new(SdkClient::new(&grpc.sdk, keyed, self.timeout)))
            }
            (Dialect::Resp(protocol), _) => self.resp_client(protocol, topology),
            // Without gRPC the mix has no such client.
            (Dialect::Grpc { .. } | Dialect::Sdk { .. }, None) => self.resp_client(Protocol::Resp3, topology),
        }
    }

    fn resp_client(&self, protocol: Protocol, topology: &SharedTopology) -> AnyClient {
        AnyClient::Resp(Client::new(self.access(protocol), topology.clone()))
    }
}

impl GrpcApi {
    /// Of a cluster.
    ///
    /// # Errors
    /// If the cluster's files cannot be read.
    pub fn of(cluster: &Cluster) -> Result<GrpcApi> {
        let file = cluster.file()?;
        let ca = std::fs::read(&file.ca).with_context(|| file.ca.display().to_string())?;
        let addresses: Vec<String> = file.nodes.iter().map(|node| node.grpc.clone()).collect();
        let nodes = GrpcNodes::new(addresses, ca);
        Ok(GrpcApi { sdk: nodes.sdk(RetryOptions::default())?, nodes })
    }
}

/// A client of any kind.
pub enum AnyClient {
    /// RESP.
    Resp(Client),
    /// The stubs.
    Grpc(GrpcClient),
    /// The SDK.
    Sdk(Box<SdkClient>),
}

impl AnyClient {
    /// What it speaks.
    #[must_use]
    pub fn kind(&self) -> ClientKind {
        match self {
            AnyClient::Resp(_) => ClientKind::Resp,
            AnyClient::Grpc(_) => ClientKind::Grpc,
            AnyClient::Sdk(_) => ClientKind::Sdk,
        }
    }

    /// As a client that only runs single commands.
    #[must_use]
    pub fn into_caller(self) -> Box<dyn Caller> {
        match self {
            AnyClient::Resp(client) => Box::new(client),
            AnyClient::Grpc(client) => Box::new(client),
            AnyClient::Sdk(client) => client,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_clients_in_a_row_are_of_all_kinds() {
        for first in 0..16 {
            let mut kinds: Vec<_> =
                (first..first + 4).map(|number| ClientMix::Mixed.dialect(number).kind().name()).collect();
            kinds.sort_unstable();
            assert_eq!(kinds, ["grpc", "resp", "resp", "sdk"], "from {first}");
        }
        let all: Vec<_> = (0..8).map(|number| ClientMix::Mixed.dialect(number)).collect();
        assert!([RESP, GRPC, SDK].iter().flatten().all(|dialect| all.contains(dialect)), "{all:?}");
    }

    #[test]
    fn a_mix_has_a_name_and_its_kinds() {
        for name in ClientMix::NAMES {
            assert_eq!(ClientMix::from_name(name).map(ClientMix::name), Some(name));
        }
        assert_eq!(ClientMix::from_name("all"), None);
        assert_eq!(ClientMix::Mixed.kinds().count(), 3);
        assert_eq!(ClientMix::Sdk.kinds().collect::<Vec<_>>(), [ClientKind::Sdk]);
    }
}
