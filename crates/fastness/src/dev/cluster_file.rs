//! `DIR/cluster.json`: the nodes of the cluster with their processes and addresses, for users' scripts and for tests.
//! Its fields are a documented interface:
//!
//! `nodes: [{id, az, pid, resp: [{shard, host, port, tls_port}], peer, peer_source, grpc, metrics}]`, `ca`,
//! `admin_cert`, `durability`, `shards`. `pid` is null while the node is not running. `peer`, `grpc` and `metrics` are
//! `host:port`; `peer_source` is an address. The private key of the admin certificate is in the same folder
//! (`admin.key`).

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::node_config;
use super::settings::Settings;
use crate::files::write_atomically;

/// Address of all listeners.
pub const HOST: &str = "127.0.0.1";

/// Content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFile {
    /// All nodes, ordered by id.
    pub nodes: Vec<Node>,
    /// The CA's certificate, PEM.
    pub ca: String,
    /// The admin certificate, PEM.
    pub admin_cert: String,
    /// The durability mode.
    pub durability: String,
    /// Number of shards.
    pub shards: u32,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Id of the node, from 1.
    pub id: u64,
    /// Its AZ.
    pub az: String,
    /// Process id, while the node is running.
    pub pid: Option<i32>,
    /// The RESP listeners of its replicas.
    pub resp: Vec<FrontEnd>,
    /// `host:port` of the peer listener.
    pub peer: String,
    /// Source address of its connections to other nodes.
    pub peer_source: String,
    /// `host:port` of the admin listener.
    pub grpc: String,
    /// `host:port` of the metrics listener.
    pub metrics: String,
}

/// The RESP listeners of one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontEnd {
    /// Its shard.
    pub shard: u32,
    /// Host of both listeners.
    pub host: String,
    /// Plaintext port.
    pub port: u16,
    /// TLS port.
    pub tls_port: u16,
}

impl ClusterFile {
    /// The content for these settings and running processes.
    pub fn of(folder: &Folder, settings: &Settings, pids: &BTreeMap<u64, i32>) -> Result<ClusterFile> {
        let at = |port: u16| format!("{HOST}:{port}");
        let nodes = settings.ports()?.into_iter().map(|(id, ports)| Node {
            id,
            az: settings.az(id).to_owned(),
            pid: pids.get(&id).copied(),
            resp: settings
                .shards_on(id)
                .map(|shard| FrontEnd {
                    shard,
                    host: HOST.to_owned(),
                    port: ports.plaintext + shard as u16 - 1,
                    tls_port: ports.tls + shard as u16 - 1,
                })
                .collect(),
            peer: at(ports.peer),
            peer_source: node_config::source_address(id).to_string(),
            grpc: at(ports.grpc),
            metrics: at(ports.metrics),
        });
        Ok(ClusterFile {
            nodes: nodes.collect(),
            ca: folder.ca().display().to_string(),
            admin_cert: folder.certificate("admin").display().to_string(),
            durability: settings.durability.clone(),
            shards: settings.shards,
        })
    }

    /// Replaces the file.
    pub fn write(&self, folder: &Folder) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write_atomically(&folder.cluster_file(), &text)
    }
}

#[cfg(test)]
mod tests {
    use fastness_types::ClusterId;

    use super::super::settings::Desired;
    use super::*;

    #[test]
    fn it_has_the_documented_fields_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path()).unwrap();
        let desired = Desired { azs: Some("a,b,c,c".into()), shards: Some(1), ..Desired::default() };
        let settings = Settings::new(&desired, ClusterId([3; 16])).unwrap();
        ClusterFile::of(&folder, &settings, &BTreeMap::from([(1, 77)])).unwrap().write(&folder).unwrap();
        let file: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.cluster_file()).unwrap()).unwrap();
        let own = folder.path().display();
        let expected = serde_json::json!({
            "nodes": [
                {"id": 1, "az": "a", "pid": 77, "peer": "127.0.0.1:7408", "grpc": "127.0.0.1:7412", "metrics": "127.0.0.1:7416",
                 "peer_source": "127.0.0.101", "resp": [{"shard": 1, "host": "127.0.0.1", "port": 7400, "tls_port": 7404}]},
                {"id": 2, "az": "b", "pid": null, "peer": "127.0.0.1:7409", "grpc": "127.0.0.1:7413", "metrics": "127.0.0.1:7417",
                 "peer_source": "127.0.0.102", "resp": [{"shard": 1, "host": "127.0.0.1", "port": 7401, "tls_port": 7405}]},
                {"id": 3, "az": "c", "pid": null, "peer": "127.0.0.1:7410", "grpc": "127.0.0.1:7414", "metrics": "127.0.0.1:7418",
                 "peer_source": "127.0.0.103", "resp": [{"shard": 1, "host": "127.0.0.1", "port": 7402, "tls_port": 7406}]},
                {"id": 4, "az": "c", "pid": null, "peer": "127.0.0.1:7411", "grpc": "127.0.0.1:7415", "metrics": "127.0.0.1:7419",
                 "peer_source": "127.0.0.104", "resp": []},
            ],
            "ca": format!("{own}/ca.crt"), "admin_cert": format!("{own}/admin.crt"), "durability": "sync", "shards": 1,
        });
        assert_eq!(file, expected);
    }
}
