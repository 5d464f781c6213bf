//! The folder of the lab in containers, which `make lab` makes (`deploy/lab/`): where its nodes are reached from the
//! host.
//!
//! The nodes name each other, to clients as well, by names that only containers resolve. On the host their gRPC ports
//! are published on loopback, and so are the plaintext ports.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::admin::{Admin, Credentials};

/// A lab in containers.
#[derive(Debug, Clone, Deserialize)]
pub struct ContainerLab {
    #[serde(skip)]
    dir: PathBuf,
    /// All nodes, ordered by id.
    pub nodes: Vec<ContainerNode>,
    /// Password of the user `default`.
    pub password: String,
    shards: u32,
}

/// One node of it.
#[derive(Debug, Clone, Deserialize)]
pub struct ContainerNode {
    /// Its id.
    pub id: u64,
    /// Its AZ.
    pub az: String,
    /// Name of its container.
    pub container: String,
    /// `host:port` of its gRPC port on the host.
    pub grpc: String,
    /// The same as other nodes name it.
    pub grpc_announced: String,
    /// Its plaintext ports on the host.
    pub resp: Vec<MappedPort>,
}

/// The plaintext port of one replica.
#[derive(Debug, Clone, Deserialize)]
pub struct MappedPort {
    /// Its shard.
    pub shard: u32,
    /// An address of the host.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl ContainerLab {
    /// The lab of this folder; `None` if it is not the folder of one.
    pub fn at(dir: &Path) -> Result<Option<ContainerLab>> {
        if !dir.join("compose.env").is_file() {
            return Ok(None);
        }
        let path = dir.join("cluster.json");
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let lab: ContainerLab =
            serde_json::from_slice(&text).with_context(|| format!("{} is not valid", path.display()))?;
        Ok(Some(ContainerLab { dir: dir.to_owned(), ..lab }))
    }

    /// The members of each shard, from shard 1 on.
    pub fn members(&self) -> Vec<Vec<u64>> {
        let has = |node: &&ContainerNode, shard| node.resp.iter().any(|mapped| mapped.shard == shard);
        let of = |shard| self.nodes.iter().filter(|node| has(node, shard)).map(|node| node.id).collect();
        (1..=self.shards).map(of).collect()
    }

    /// The addresses by which the nodes name each other: [`ContainerLab::admin`] finds them.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.grpc_announced.clone()).collect()
    }

    /// The admin client, for these addresses.
    pub fn admin(&self) -> Result<Admin> {
        let file = |name| self.dir.join("admin").join(name);
        let admin =
            Admin::new(&Credentials { ca: file("ca.crt"), certificate: file("admin.crt"), key: file("admin.key") })?;
        let mapped = self.nodes.iter().map(|node| (node.grpc_announced.clone(), node.grpc.clone()));
        Ok(admin.with_mapped(mapped.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_dev_cluster_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ContainerLab::at(dir.path()).unwrap().is_none());
        std::fs::write(dir.path().join("compose.env"), "").unwrap();
        assert!(ContainerLab::at(dir.path()).unwrap_err().to_string().contains("cluster.json"));
    }

    #[test]
    fn nodes_and_shards_are_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("compose.env"), "").unwrap();
        let node = |id: u64, shards: &[u32]| {
            let resp: Vec<_> =
                shards.iter().map(|s| serde_json::json!({"shard": s, "host": "127.0.0.1", "port": 7000})).collect();
            serde_json::json!({
                "id": id, "az": "a", "container": "x", "grpc": "127.0.0.1:1", "grpc_announced": format!("n{id}:2"),
                "metrics": "127.0.0.1:3", "resp": resp,
            })
        };
        let file = serde_json::json!({
            "nodes": [node(1, &[1]), node(2, &[1, 2])], "ca": "ca.crt", "password": "secret", "shards": 2,
        });
        std::fs::write(dir.path().join("cluster.json"), file.to_string()).unwrap();
        let lab = ContainerLab::at(dir.path()).unwrap().unwrap();
        assert_eq!(lab.members(), [vec![1, 2], vec![2]]);
        assert_eq!(lab.addresses(), ["n1:2", "n2:2"]);
        assert!(lab.admin().is_err(), "there are no certificates");
    }
}
