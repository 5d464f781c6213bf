//! Where the nodes of a cluster on this machine are: from the `cluster.json` of `fastness dev` or of the lab in
//! containers.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fastness_cli::Address;
use serde::Deserialize;

/// Nodes, and what their folder says of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Places {
    /// Addresses for clients, those of running nodes first.
    pub nodes: Vec<Address>,
    /// The CA of the cluster.
    pub ca: Option<PathBuf>,
    /// The password of the user `default`, where the folder has it.
    pub password: Option<String>,
}

/// What a `cluster.json` has for clients.
#[derive(Debug, Deserialize)]
struct File {
    nodes: Vec<FileNode>,
    ca: Option<PathBuf>,
    password: Option<String>,
}

#[derive(Debug, Deserialize)]
struct FileNode {
    /// Missing in the lab in containers, whose nodes have no processes here.
    #[serde(default)]
    pid: Option<i32>,
    resp: Vec<FileListener>,
}

#[derive(Debug, Deserialize)]
struct FileListener {
    host: String,
    port: u16,
    tls_port: Option<u16>,
}

impl Places {
    /// One node.
    pub fn at(address: Address) -> Places {
        Places { nodes: vec![address], ca: None, password: None }
    }

    /// The cluster of this folder.
    pub fn of_folder(dir: &Path, tls: bool) -> Result<Places> {
        Places::of_file(&dir.join("cluster.json"), tls)
    }

    /// The cluster of this file.
    pub fn of_file(path: &Path, tls: bool) -> Result<Places> {
        let text = std::fs::read(path).with_context(|| {
            format!("cannot read {}; a cluster on this machine is started with `fastness dev`", path.display())
        })?;
        let file: File = serde_json::from_slice(&text).with_context(|| format!("{} is not valid", path.display()))?;
        let mut nodes = file.nodes;
        nodes.sort_by_key(|node| node.pid.is_none());
        let listeners = || nodes.iter().flat_map(|node| &node.resp);
        let port = |listener: &FileListener| if tls { listener.tls_port } else { Some(listener.port) };
        let addresses = listeners().filter_map(|listener| Some(Address::new(&listener.host, port(listener)?)));
        let addresses: Vec<_> = addresses.filter(|address| address.port > 0).collect();
        let kind = if tls { "TLS" } else { "plaintext" };
        ensure!(!addresses.is_empty(), "{} names no {kind} port of a node", path.display());
        // Relative to the file, as the lab in containers writes it.
        let ca = file.ca.map(|ca| path.parent().unwrap_or(Path::new("")).join(ca));
        Ok(Places { nodes: addresses, ca, password: file.password })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &serde_json::Value) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.json");
        std::fs::write(&path, content.to_string()).unwrap();
        (dir, path)
    }

    #[test]
    fn running_nodes_come_first() {
        let resp =
            |port: u16| serde_json::json!([{"shard": 1, "host": "127.0.0.1", "port": port, "tls_port": port + 10}]);
        let nodes = serde_json::json!([
            {"id": 1, "pid": null, "resp": resp(7400)}, {"id": 2, "pid": 9, "resp": resp(7401)}, {"id": 3, "resp": []},
        ]);
        let (dir, path) = file(&serde_json::json!({"nodes": nodes, "ca": "/x/ca.crt", "durability": "sync"}));
        let places = Places::of_folder(dir.path(), false).unwrap();
        assert_eq!(places.nodes, [Address::new("127.0.0.1", 7401), Address::new("127.0.0.1", 7400)]);
        assert_eq!((places.ca, places.password), (Some(PathBuf::from("/x/ca.crt")), None));
        assert_eq!(Places::of_file(&path, true).unwrap().nodes[0].port, 7411);
    }

    #[test]
    fn the_lab_in_containers_has_a_password_and_no_tls_ports() {
        let nodes = serde_json::json!([{"id": 1, "resp": [{"shard": 1, "host": "127.0.0.1", "port": 7800}]}]);
        let (dir, path) = file(&serde_json::json!({"nodes": nodes, "ca": "admin/ca.crt", "password": "secret"}));
        let places = Places::of_file(&path, false).unwrap();
        assert_eq!(places.password.as_deref(), Some("secret"));
        assert_eq!(places.ca, Some(dir.path().join("admin/ca.crt")));
        let error = Places::of_file(&path, true).unwrap_err().to_string();
        assert!(error.ends_with("names no TLS port of a node"), "{error}");
        assert!(Places::of_file(&dir.path().join("absent"), false).unwrap_err().to_string().contains("fastness dev"));
        std::fs::write(&path, "{}").unwrap();
        assert!(Places::of_file(&path, false).unwrap_err().to_string().contains("is not valid"));
    }
}
