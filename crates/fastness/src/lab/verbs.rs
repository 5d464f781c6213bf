//! The verbs on AZs, nodes, disks and links. Each observes the lab, changes it, waits until the effect can be observed,
//! and prints both states.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use serde_json::json;

use super::driver::{Driver, LabNode, ProcessState};
use super::faults::{cut, delayed, disk_fault, healed, link_request};
use super::target::VerbTarget;
use super::view::LabView;

/// Delay of `az slow`, in milliseconds each way, unless another one is given.
const SLOW_MS: u32 = 50;

/// What can be done to an AZ.
#[derive(Debug, Subcommand)]
pub enum AzVerb {
    /// Kill all nodes of an AZ at once, as when its power fails
    Down(AzArgument),
    /// Start the nodes of an AZ that are down, and resume those that are paused
    Up(AzArgument),
    /// Cut all links between the nodes of an AZ and those of the others, both ways
    ///
    /// Clients still reach every node, as clients within that AZ do. Nodes that are down have no links to cut:
    /// what they send after they were started is not held up.
    Partition(AzArgument),
    /// Delay everything between the nodes of an AZ and those of the others, both ways
    Slow {
        #[command(flatten)]
        az: AzArgument,
        /// Delay in milliseconds, each way
        #[arg(value_name = "MS", default_value_t = SLOW_MS)]
        ms: u32,
    },
    /// Heal all links between the nodes of an AZ and those of the others
    Heal(AzArgument),
}

/// An AZ of a lab.
#[derive(Debug, clap::Args)]
pub struct AzArgument {
    /// The AZ
    az: String,
    #[command(flatten)]
    target: VerbTarget,
}

/// What can be done to a node's process.
#[derive(Debug, Subcommand)]
pub enum NodeVerb {
    /// Kill a node with SIGKILL (kill -9); it stays down until it is started
    Kill(LabNodeArgument),
    /// Stop a node with SIGSTOP: its connections stay open, and it answers nothing
    Pause(LabNodeArgument),
    /// Resume a paused node
    Resume(LabNodeArgument),
    /// Start a node that is down, with its data
    Start(LabNodeArgument),
}

/// A node of a lab.
#[derive(Debug, clap::Args)]
pub struct LabNodeArgument {
    /// The node's id
    id: u64,
    #[command(flatten)]
    target: VerbTarget,
}

/// A verb in progress: the lab, and its state before.
struct Verb<'a> {
    target: &'a VerbTarget,
    driver: &'a dyn Driver,
    /// The nodes that are called.
    called: Vec<u64>,
    before: LabView,
}

impl Verb<'_> {
    async fn begin<'a>(target: &'a VerbTarget, driver: &'a dyn Driver, called: &[u64]) -> Verb<'a> {
        let before =
            if target.no_wait { LabView::of_nodes(driver, called).await } else { LabView::gather(driver).await };
        Verb { target, driver, called: called.to_vec(), before }
    }

    /// Prints what has changed.
    async fn report(self, what: &str) -> Result<()> {
        let after = if self.target.no_wait {
            LabView::of_nodes(self.driver, &self.called).await
        } else {
            LabView::settled(self.driver).await
        };
        let (table, changed) = LabView::changes(&self.before, &after);
        if self.target.json() {
            let (before, after) = (self.before.json(), after.json());
            let text = json!({ "verb": what, "changed": changed, "before": before, "after": after });
            println!("{}", serde_json::to_string_pretty(&text)?);
            return Ok(());
        }
        let remark = if changed { "" } else { ": nothing has changed" };
        print!("{what}{remark}\n\n{table}");
        Ok(())
    }
}

fn nodes_of<'a>(driver: &'a dyn Driver, az: &str) -> Result<(Vec<&'a LabNode>, Vec<&'a LabNode>)> {
    let (own, others): (Vec<_>, Vec<_>) = driver.nodes().iter().partition(|node| node.az == az);
    let all: BTreeSet<&str> = driver.nodes().iter().map(|node| node.az.as_str()).collect();
    let all: Vec<&str> = all.into_iter().collect();
    ensure!(!own.is_empty(), "there is no AZ {az}: the AZs are {}", all.join(", "));
    Ok((own, others))
}

fn node_of(driver: &dyn Driver, id: u64) -> Result<&LabNode> {
    let ids: Vec<String> = driver.nodes().iter().map(|node| node.id.to_string()).collect();
    let node = driver.nodes().iter().find(|node| node.id == id);
    node.with_context(|| format!("there is no node {id}: the nodes are {}", ids.join(", ")))
}

/// A node into which a fault can be injected; otherwise the reason.
fn answering(driver: &dyn Driver, id: u64) -> Result<&LabNode> {
    let node = node_of(driver, id)?;
    match driver.process(id) {
        ProcessState::Running(_) | ProcessState::Unknown => Ok(node),
        ProcessState::Paused(_) => {
            bail!("node {id} is paused and takes no faults: resume it with `fastness lab node resume {id}`")
        }
        ProcessState::Stopping | ProcessState::Down => {
            bail!(
                "node {id} is down and takes no faults: start it with `fastness lab node start {id}`, which heals \
                 all of its faults anyway"
            )
        }
    }
}

/// Kills all nodes of an AZ.
pub async fn az_down(driver: &dyn Driver, az: &str) -> Result<()> {
    let (own, _) = nodes_of(driver, az)?;
    driver.kill(&own.iter().map(|node| node.id).collect::<Vec<_>>()).await
}

/// Brings all nodes of an AZ back.
pub async fn az_up(driver: &dyn Driver, az: &str) -> Result<()> {
    let (own, _) = nodes_of(driver, az)?;
    for node in &own {
        if matches!(driver.process(node.id), ProcessState::Paused(_)) {
            driver.resume(node.id).await?;
        }
    }
    let down = own.iter().filter(|node| !matches!(driver.process(node.id), ProcessState::Running(_)));
    driver.start(&down.map(|node| node.id).collect::<Vec<_>>()).await
}

/// The fault of the links between an AZ and the others.
#[derive(Debug, Clone, Copy)]
pub enum AzLinks {
    /// No frame is sent.
    Cut,
    /// Every frame is delayed by this many milliseconds.
    Delayed(u32),
    /// All faults are removed.
    Healed,
}

/// Sets the links between the nodes of an AZ and the others, both ways. Nodes that are down have none. A paused node
/// is refused before anything is changed.
pub async fn az_links(driver: &dyn Driver, az: &str, links: AzLinks) -> Result<()> {
    let (own, others) = nodes_of(driver, az)?;
    let up = |node: &&&LabNode| !matches!(driver.process(node.id), ProcessState::Down | ProcessState::Stopping);
    for node in driver.nodes().iter().filter(|node| up(&node)) {
        answering(driver, node.id)?;
    }
    let pairs = own.iter().flat_map(|own| others.iter().flat_map(move |other| [(*own, *other), (*other, *own)]));
    for (from, to) in pairs.filter(|(from, _)| up(&from)) {
        let request = match links {
            AzLinks::Cut => cut(to.id),
            AzLinks::Delayed(ms) => delayed(to.id, ms),
            AzLinks::Healed => healed(to.id),
        };
        driver.set_link(from, request).await?;
    }
    Ok(())
}

/// Runs a verb on an AZ.
pub async fn az(verb: AzVerb) -> Result<()> {
    let (argument, links) = match &verb {
        AzVerb::Down(az) | AzVerb::Up(az) => (az, None),
        AzVerb::Partition(az) => (az, Some(AzLinks::Cut)),
        AzVerb::Slow { az, ms } => (az, Some(AzLinks::Delayed(*ms))),
        AzVerb::Heal(az) => (az, Some(AzLinks::Healed)),
    };
    let (AzArgument { az, target }, driver) = (argument, argument.target.driver().await?);
    let driver = &*driver;
    let (own, _) = nodes_of(driver, az)?;
    let in_progress = Verb::begin(target, driver, &own.iter().map(|node| node.id).collect::<Vec<_>>()).await;
    match (&verb, links) {
        (_, Some(links)) => az_links(driver, az, links).await?,
        (AzVerb::Up(_), None) => az_up(driver, az).await?,
        (_, None) => az_down(driver, az).await?,
    }
    let what = match &verb {
        AzVerb::Down(_) => format!("AZ {az}: all nodes killed"),
        AzVerb::Up(_) => format!("AZ {az}: all nodes started"),
        AzVerb::Partition(_) => format!("AZ {az}: cut off from the other AZs"),
        AzVerb::Slow { ms, .. } => format!("AZ {az}: {ms} ms from and to the other AZs"),
        AzVerb::Heal(_) => format!("AZ {az}: links to the other AZs healed"),
    };
    in_progress.report(&what).await
}

/// Runs a verb on a node.
pub async fn node(verb: NodeVerb) -> Result<()> {
    use NodeVerb::{Kill, Pause, Resume, Start};
    let (Kill(argument) | Pause(argument) | Resume(argument) | Start(argument)) = &verb;
    let (LabNodeArgument { id, target }, driver) = (argument, argument.target.driver().await?);
    let (driver, id) = (&*driver, *id);
    node_of(driver, id)?;
    let in_progress = Verb::begin(target, driver, &[id]).await;
    let what = match verb {
        NodeVerb::Kill(_) => {
            driver.kill(&[id]).await?;
            format!("node {id}: killed")
        }
        NodeVerb::Pause(_) => {
            driver.pause(id).await?;
            format!("node {id}: paused")
        }
        NodeVerb::Resume(_) => {
            driver.resume(id).await?;
            format!("node {id}: resumed")
        }
        NodeVerb::Start(_) => {
            if let ProcessState::Paused(_) = driver.process(id) {
                bail!("node {id} is paused, not down: resume it with `fastness lab node resume {id}`");
            }
            driver.start(&[id]).await?;
            format!("node {id}: started")
        }
    };
    in_progress.report(&what).await
}

/// Sets the fault of a node's disk.
pub async fn disk(target: &VerbTarget, node: u64, words: &[String]) -> Result<()> {
    let (fault, driver) = (disk_fault(words)?, target.driver().await?);
    let driver = &*driver;
    let spec = answering(driver, node)?;
    let in_progress = Verb::begin(target, driver, &[node]).await;
    driver.set_disk(spec, fault).await?;
    in_progress.report(&format!("the disk of node {node}: {}", words.join(" "))).await
}

/// Changes the faults of the link from one node to another.
pub async fn link(target: &VerbTarget, from: u64, to: u64, words: &[String]) -> Result<()> {
    let (request, driver) = (link_request(to, words)?, target.driver().await?);
    let driver = &*driver;
    let spec = answering(driver, from)?;
    node_of(driver, to)?;
    let in_progress = Verb::begin(target, driver, &[from]).await;
    driver.set_link(spec, request).await?;
    in_progress.report(&format!("the link from node {from} to node {to}: {}", words.join(" "))).await
}
