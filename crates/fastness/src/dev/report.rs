//! What `fastness dev` prints about a cluster: the table of nodes, and example commands.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use fastness_console::watch::views::primary_of;
use fastness_types::slot_of;
use fastness_wire::admin::v1::DescribeClusterResponse;

use super::cluster_file::{ClusterFile, Node};
use super::folder::Folder;
use super::settings::Settings;
use super::{bring_up, process};
use crate::table::Table;
use crate::views::{self, faults};

/// The key of the example commands.
const EXAMPLE_KEY: &str = "token:42";

/// The state of a cluster.
pub struct Report {
    folder: Folder,
    settings: Settings,
    file: ClusterFile,
    /// Each node's own report; `None` if it does not answer.
    views: Vec<(u64, Option<DescribeClusterResponse>)>,
}

impl Report {
    /// Checks the processes and calls every running node.
    pub async fn gather(folder: &Folder, settings: &Settings) -> Result<Report> {
        let alive = |node| process::of_node(folder, node).map(|process| (node, process.pid));
        let pids: BTreeMap<u64, i32> = settings.nodes().filter_map(alive).collect();
        let file = ClusterFile::of(folder, settings, &pids)?;
        let admin = bring_up::admin(folder)?;
        let nodes = file.nodes.iter().map(|node| (node.id, node.pid.map(|_| node.grpc.clone())));
        let views = views::gather(&admin, nodes).await;
        Ok(Report { folder: folder.clone(), settings: settings.clone(), file, views })
    }

    /// Whether every node is running and every shard has a primary.
    pub fn is_healthy(&self) -> bool {
        self.file.nodes.iter().all(|node| node.pid.is_some())
            && (1..=self.settings.shards).all(|shard| primary_of(shard, &self.views).is_some())
    }

    /// The cluster as JSON: the current content of `cluster.json`, and the primaries.
    pub fn json(&self) -> Result<String> {
        let primaries: BTreeMap<String, Option<u64>> =
            (1..=self.settings.shards).map(|shard| (shard.to_string(), primary_of(shard, &self.views))).collect();
        let mut value = serde_json::to_value(&self.file)?;
        value["primaries"] = serde_json::to_value(primaries)?;
        Ok(serde_json::to_string_pretty(&value)?)
    }

    /// The table of nodes.
    pub fn nodes(&self) -> String {
        let Settings { shards, replicas, durability, .. } = &self.settings;
        let head = format!(
            "{} · durability {durability} · {shards} shards, each with {replicas} replicas besides the primary\n\n",
            self.folder.path().display()
        );
        let mut table = Table::new(&[
            "NODE",
            "AZ",
            "PID",
            "PRIMARY OF",
            "REPLICA OF",
            "PLAINTEXT",
            "TLS",
            "PEER",
            "GRPC",
            "METRICS",
        ]);
        for node in &self.file.nodes {
            let (leads, follows): (Vec<_>, Vec<_>) = node
                .resp
                .iter()
                .map(|listener| listener.shard)
                .partition(|shard| primary_of(*shard, &self.views) == Some(node.id));
            table.row([
                node.id.to_string(),
                node.az.clone(),
                node.pid.map_or_else(|| "not running".to_owned(), |pid| pid.to_string()),
                shard_list(&leads),
                shard_list(&follows),
                port_list(node.resp.iter().map(|listener| listener.port)),
                port_list(node.resp.iter().map(|listener| listener.tls_port)),
                port_of(&node.peer),
                port_of(&node.grpc),
                port_of(&node.metrics),
            ]);
        }
        head + &table.to_string() + &faults(&self.views)
    }

    /// Example commands with this cluster's ports and process ids.
    pub fn session(&self) -> String {
        let Some((primary, other)) = self.example() else { return String::new() };
        let shard = self.shard_of_example();
        let own = program();
        let port =
            |node: &Node| node.resp.iter().find(|listener| listener.shard == shard).map_or(0, |listener| listener.port);
        let pid = primary.pid.unwrap_or_default();
        let dir = quoted(&self.folder.path().display().to_string());
        format!(
            "Try a write that survives its primary:\n\n  \
             {own} cli -p {} SET {EXAMPLE_KEY} paid\n  \
             kill -9 {pid}                # node {}, primary of shard {shard}, which has {EXAMPLE_KEY}\n  \
             {own} cli -p {} GET {EXAMPLE_KEY}\n  \
             {own} dev node start {} --dir {dir}\n\n\
             A prompt:   {own} cli --dir {dir}\n\
             Over TLS:   {own} cli --dir {dir} --tls\n\
             Look, stop: {own} dev status --dir {dir}\n            {own} lab console --dir {dir}   # in a browser, \
             with buttons to break it\n            {own} dev stop --dir {dir}\n\n\
             Any cluster client of Valkey or Redis works as well: redis-cli -c -p {}\n",
            port(primary),
            primary.id,
            port(other),
            primary.id,
            port(other),
        )
    }

    fn shard_of_example(&self) -> u32 {
        let slot = u64::from(slot_of(EXAMPLE_KEY.as_bytes()).0);
        let shards = u64::from(self.settings.shards);
        let ends = (1..=shards).find(|s| slot < s * fastness_types::SLOTS as u64 / shards);
        ends.unwrap_or(1) as u32
    }

    /// The primary of the example's key, and another node with a replica of its shard.
    fn example(&self) -> Option<(&Node, &Node)> {
        let shard = self.shard_of_example();
        let primary = primary_of(shard, &self.views)?;
        let node = |id| self.file.nodes.iter().find(|node| node.id == id);
        let other = self.settings.members[shard as usize - 1].iter().find(|id| **id != primary)?;
        Some((node(primary)?, node(*other)?))
    }
}

fn shard_list(shards: &[u32]) -> String {
    let list: Vec<_> = shards.iter().map(u32::to_string).collect();
    if list.is_empty() { "-".to_owned() } else { list.join(",") }
}

/// `7400-7402` for consecutive ports, otherwise a list.
fn port_list(ports: impl Iterator<Item = u16>) -> String {
    let ports: Vec<_> = ports.collect();
    match &ports[..] {
        [] => "-".to_owned(),
        [one] => one.to_string(),
        [first, .., last] if usize::from(last - first) == ports.len() - 1 => format!("{first}-{last}"),
        more => more.iter().map(u16::to_string).collect::<Vec<_>>().join(","),
    }
}

fn port_of(address: &str) -> String {
    address.rsplit_once(':').map_or(address, |(_, port)| port).to_owned()
}

/// Quotes a word for the shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The command by which the user can run this program.
pub fn program() -> String {
    let name = "fastness";
    if on_path(name).is_some() {
        return name.to_owned();
    }
    std::env::current_exe().map_or_else(|_| name.to_owned(), |path| quoted(&path.display().to_string()))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_ports_are_a_range() {
        assert_eq!(port_list([7400, 7401, 7402].into_iter()), "7400-7402");
        assert_eq!(port_list([7400, 7402].into_iter()), "7400,7402");
        assert_eq!(port_list([7400].into_iter()), "7400");
        assert_eq!(port_list(std::iter::empty()), "-");
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quoted("/a/b-c.d"), "/a/b-c.d");
        assert_eq!(quoted("/a b"), "'/a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
