//! The settings of a dev cluster, kept in `DIR/dev.json`. Options of the command line never change them; adding and
//! replacing nodes does.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use fastness_control::placement::{self, Site};
use fastness_types::{ClusterId, Durability, NodeId};
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::ports::{self, NodePorts};
use crate::files::write_atomically;

/// Version of `dev.json`.
const VERSION: u32 = 1;
/// Default AZs.
const AZS: &str = "a,b,c";
/// Default number of shards.
const SHARDS: u32 = 3;
/// Default number of copies besides the primary.
const REPLICAS: u32 = 2;
/// Default first port.
pub const PORT: u16 = 7400;

/// Settings given on the command line; `None`: the default, or the folder's setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Comma-separated AZs, one node each.
    pub azs: Option<String>,
    /// Number of shards.
    pub shards: Option<u32>,
    /// Copies besides the primary.
    pub replicas: Option<u32>,
    /// sync, async or disabled.
    pub durability: Option<String>,
    /// First port.
    pub port: Option<u16>,
}

/// The settings of a folder's cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    version: u32,
    /// 32 random hexadecimal digits, which the certificates contain.
    pub cluster_id: String,
    /// The AZ of each node, including replaced ones; node ids count from 1.
    pub azs: Vec<String>,
    /// Number of nodes that the cluster was created with; the others were added. 0: all of them.
    #[serde(default)]
    made_with: u32,
    /// Replaced nodes, which no longer belong to the cluster.
    #[serde(default)]
    replaced: Vec<u64>,
    /// Number of shards.
    pub shards: u32,
    /// Copies besides the primary.
    pub replicas: u32,
    /// sync, async or disabled.
    pub durability: String,
    /// First port.
    pub port: u16,
    /// The members of each shard, the preferred primary first.
    pub members: Vec<Vec<u64>>,
    /// Whether the cluster has been created on the nodes.
    pub created: bool,
    /// Whether the nodes' certificates have the name of a lab. Those in folders of older versions do not.
    #[serde(default)]
    pub lab: bool,
}

impl Settings {
    /// Settings of a new cluster; refused if they cannot work.
    pub fn new(desired: &Desired, cluster_id: ClusterId) -> Result<Settings> {
        let azs: Vec<_> = desired.azs.as_deref().unwrap_or(AZS).split(',').map(|az| az.trim().to_owned()).collect();
        azs.iter().try_for_each(|az| check_az(az))?;
        let durability: Durability = desired
            .durability
            .as_deref()
            .unwrap_or("sync")
            .parse()
            .map_err(|e| anyhow::anyhow!("--durability: {e}"))?;
        let mut settings = Settings {
            version: VERSION,
            cluster_id: cluster_id.to_string(),
            made_with: azs.len() as u32,
            replaced: Vec::new(),
            azs,
            shards: desired.shards.unwrap_or(SHARDS),
            replicas: desired.replicas.unwrap_or(REPLICAS),
            durability: durability.name().to_owned(),
            port: desired.port.unwrap_or(PORT),
            members: Vec::new(),
            created: false,
            lab: true,
        };
        settings.check_durable(durability)?;
        settings.ports_of(1)?;
        settings.place(durability)?;
        Ok(settings)
    }

    fn check_durable(&self, durability: Durability) -> Result<()> {
        ensure!(self.shards > 0, "--shards must be at least 1");
        if durability.is_durable() {
            let distinct: BTreeSet<_> = self.azs.iter().collect();
            ensure!(
                self.replicas >= 1,
                "--durability {durability} needs at least one replica besides the primary (--replicas 1 or more)"
            );
            ensure!(distinct.len() >= 2, "--durability {durability} needs nodes in at least 2 AZs (--azs a,b,c)");
        }
        Ok(())
    }

    fn place(&mut self, durability: Durability) -> Result<()> {
        let site = |(i, az): (usize, &String)| Site { node: NodeId(i as u64 + 1), az: az.as_str().into() };
        let sites: Vec<_> = self.azs.iter().enumerate().map(site).collect();
        let placed = placement::place(&sites, self.shards, self.replicas, durability.is_durable())?;
        let ids = |members: &Vec<NodeId>| members.iter().map(|id| id.0).collect();
        self.members = placed.shards.iter().map(|shard| ids(&shard.members)).collect();
        Ok(())
    }

    /// Reads the settings of an existing folder; `None` if the folder has no cluster.
    pub fn load(folder: &Folder) -> Result<Option<Settings>> {
        let path = folder.settings();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let settings: Settings =
            serde_json::from_slice(&text).with_context(|| format!("{} is not valid", path.display()))?;
        ensure!(settings.version == VERSION, "{} has version {}, not {VERSION}", path.display(), settings.version);
        Ok(Some(settings))
    }

    /// Saves the settings atomically.
    pub fn save(&self, folder: &Folder) -> Result<()> {
        write_atomically(&folder.settings(), &serde_json::to_vec_pretty(self)?)
    }

    /// Refuses options that differ from the folder's settings.
    pub fn refuse_others(&self, desired: &Desired, folder: &Folder) -> Result<()> {
        let mut differences = Vec::new();
        let mut compare = |name: &str, desired: Option<String>, has: String| {
            if let Some(desired) = desired.filter(|desired| *desired != has) {
                differences.push(format!("--{name} {desired} (it has {has})"));
            }
        };
        let tidy = |azs: &String| azs.split(',').map(str::trim).collect::<Vec<_>>().join(",");
        compare("azs", desired.azs.as_ref().map(tidy), self.azs.join(","));
        compare("shards", desired.shards.map(|n| n.to_string()), self.shards.to_string());
        compare("replicas", desired.replicas.map(|n| n.to_string()), self.replicas.to_string());
        compare("durability", desired.durability.clone(), self.durability.clone());
        compare("port", desired.port.map(|n| n.to_string()), self.port.to_string());
        if differences.is_empty() {
            return Ok(());
        }
        bail!(
            "{} has a cluster with other settings: {}. Omit these options to start it as it is, or choose another --dir",
            folder.path().display(),
            differences.join(", ")
        )
    }

    /// Ids of the nodes that belong to the cluster or were added to replace one.
    pub fn nodes(&self) -> impl Iterator<Item = u64> + use<> {
        let replaced = self.replaced.clone();
        (1..=self.azs.len() as u64).filter(move |node| !replaced.contains(node))
    }

    /// Adds a node, which has no replicas yet; returns its id.
    pub fn add_node(&mut self, az: &str) -> Result<u64> {
        check_az(az)?;
        self.made_with = self.first_nodes();
        self.azs.push(az.to_owned());
        let added = self.azs.len() as u64;
        self.ports_of(added)?;
        Ok(added)
    }

    /// Gives `new` the replicas of `old`, which no longer belongs to the cluster.
    pub fn replace(&mut self, old: u64, new: u64) {
        if !self.replaced.contains(&old) {
            self.replaced.push(old);
            self.members.iter_mut().flatten().filter(|member| **member == old).for_each(|member| *member = new);
        }
    }

    /// Whether a node belongs to the cluster. An added node belongs to it once it has replaced another one.
    pub fn is_member(&self, node: u64) -> bool {
        node <= u64::from(self.first_nodes()) || self.shards_on(node).next().is_some()
    }

    fn first_nodes(&self) -> u32 {
        if self.made_with == 0 { self.azs.len() as u32 } else { self.made_with }
    }

    /// The AZ of a node.
    pub fn az(&self, node: u64) -> &str {
        &self.azs[node as usize - 1]
    }

    /// The ports of each node, by id.
    pub fn ports(&self) -> Result<Vec<(u64, NodePorts)>> {
        self.nodes().map(|node| Ok((node, self.ports_of(node)?))).collect()
    }

    /// The ports of one node.
    pub fn ports_of(&self, node: u64) -> Result<NodePorts> {
        let plan = ports::plan(self.port, self.first_nodes(), self.azs.len() as u32, self.shards)?;
        plan.get((node as usize).wrapping_sub(1)).copied().with_context(|| format!("there is no node {node}"))
    }

    /// The shards of which a node has a replica.
    pub fn shards_on(&self, node: u64) -> impl Iterator<Item = u32> + '_ {
        let held = self.members.iter().enumerate().filter(move |(_, members)| members.contains(&node));
        held.map(|(i, _)| i as u32 + 1)
    }

    /// Refuses an id that belongs to no node.
    pub fn check_node(&self, node: u64) -> Result<()> {
        ensure!(!self.replaced.contains(&node), "node {node} was replaced and no longer belongs to the cluster");
        ensure!(self.nodes().any(|id| id == node), "there is no node {node}: the nodes are 1 to {}", self.azs.len());
        Ok(())
    }
}

fn check_az(az: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    ensure!(
        !az.is_empty() && az.len() <= 64 && az.chars().all(good),
        "--azs: {az:?} is not an AZ name (letters, digits, '-', '_', '.', at most 64); example: --azs a,b,c"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired() -> Desired {
        Desired::default()
    }

    fn new(desired: &Desired) -> Result<Settings> {
        Settings::new(desired, ClusterId([1; 16]))
    }

    fn refused(desired: Desired, reason: &str) {
        let text = new(&desired).unwrap_err().to_string();
        assert!(text.contains(reason), "{text}");
    }

    #[test]
    fn defaults() {
        let settings = new(&desired()).unwrap();
        assert_eq!(settings.azs, ["a", "b", "c"]);
        assert_eq!((settings.shards, settings.replicas, settings.port), (3, 2, 7400));
        assert_eq!(settings.durability, "sync");
        assert_eq!(settings.members, [[1, 2, 3], [2, 3, 1], [3, 1, 2]]);
    }

    #[test]
    fn an_az_named_twice_gives_two_nodes() {
        let settings = new(&Desired { azs: Some("a, b,c,a".into()), ..desired() }).unwrap();
        assert_eq!(settings.nodes().count(), 4);
        assert_eq!(settings.az(4), "a");
        // Each shard has one copy in each AZ; the two nodes of `a` share them.
        let held: usize = [1, 4].iter().map(|node| settings.shards_on(*node).count()).sum();
        assert_eq!(held, 3);
        assert_eq!(settings.shards_on(2).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_node_is_added_and_replaces_another_one() {
        let mut settings = new(&desired()).unwrap();
        let before = settings.ports().unwrap();
        assert_eq!(settings.add_node("b").unwrap(), 4);
        assert!(settings.is_member(3) && !settings.is_member(4));
        assert_eq!(settings.ports().unwrap()[..3], before, "the ports of other nodes do not change");
        settings.replace(2, 4);
        settings.replace(2, 4);
        assert!(settings.is_member(4));
        assert_eq!(settings.nodes().collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(settings.members, [[1, 4, 3], [4, 3, 1], [3, 1, 4]]);
        assert_eq!(settings.ports().unwrap()[1], before[2]);
        assert!(settings.check_node(2).unwrap_err().to_string().contains("was replaced"));
        assert!(settings.add_node("b/c").unwrap_err().to_string().contains("not an AZ name"));
        let text = (0..20).find_map(|_| settings.add_node("a").err()).unwrap().to_string();
        assert!(text.contains("ports"), "{text}");
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        refused(Desired { azs: Some("a,,b".into()), ..desired() }, "not an AZ name");
        refused(Desired { azs: Some("a,b/c".into()), ..desired() }, "not an AZ name");
        refused(Desired { azs: Some("a,a,a".into()), ..desired() }, "at least 2 AZs");
        refused(Desired { replicas: Some(0), ..desired() }, "at least one replica");
        refused(Desired { replicas: Some(3), ..desired() }, "at most 2 replicas");
        refused(Desired { shards: Some(0), ..desired() }, "at least 1");
        refused(Desired { shards: Some(40), ..desired() }, "ports");
        refused(Desired { durability: Some("maybe".into()), ..desired() }, "sync, async or disabled");
        refused(Desired { port: Some(65500), ..desired() }, "65500");
    }

    #[test]
    fn a_folder_keeps_its_settings() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path()).unwrap();
        assert_eq!(Settings::load(&folder).unwrap(), None);
        let settings = new(&Desired { shards: Some(2), ..desired() }).unwrap();
        settings.save(&folder).unwrap();
        assert_eq!(Settings::load(&folder).unwrap(), Some(settings.clone()));
        settings.refuse_others(&desired(), &folder).unwrap();
        settings
            .refuse_others(&Desired { shards: Some(2), azs: Some("a, b, c".into()), ..desired() }, &folder)
            .unwrap();
        let other = Desired { shards: Some(3), durability: Some("async".into()), ..desired() };
        let text = settings.refuse_others(&other, &folder).unwrap_err().to_string();
        assert!(text.contains("--shards 3 (it has 2)") && text.contains("--durability async (it has sync)"), "{text}");
        std::fs::write(folder.settings(), b"{").unwrap();
        assert!(Settings::load(&folder).is_err());
    }
}
