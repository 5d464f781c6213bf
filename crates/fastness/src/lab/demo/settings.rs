//! The settings of a cluster that demos change, and what a demo must put back on a cluster that is not its own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fastness_load::connection::{Connection, Endpoint};
use fastness_resp::value::Value;
use fastness_wire::lab::v1::DiskFault;

use crate::dev::DevCluster;
use crate::lab::driver::{Driver, ProcessState};
use crate::lab::faults::healed;
use crate::lab::processes::ProcessDriver;
use crate::lab::view::{LabView, NodeView};

/// Time limit of a command.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Runs this program with these arguments and the folder of the cluster; fails with its message.
pub async fn fastness(arguments: &[&str], dir: &Path) -> Result<()> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(arguments).arg("--dir").arg(dir).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "fastness {}: {}", arguments.join(" "), error.trim_end());
    Ok(())
}

/// Changes the durability mode, and waits until it is in force.
pub async fn set_mode(dir: &Path, mode: &str) -> Result<()> {
    fastness(&["cluster", "set-durability", mode], dir).await
}

async fn ask(dir: &Path, command: &[&[u8]]) -> Result<Value> {
    let cluster = DevCluster::open(dir)?;
    let nodes = cluster.nodes();
    let (first, _) = nodes.first().context("the cluster has no nodes")?;
    let port = cluster.ports(*first)?.first().copied().context("the first node has no replica")?;
    Ok(Connection::open(&Endpoint::new("127.0.0.1", port), None, TIMEOUT).await?.call(command).await?)
}

/// The value of `durability-max-lag`.
pub async fn max_lag(dir: &Path) -> Result<String> {
    let reply = ask(dir, &[b"CONFIG", b"GET", b"durability-max-lag"]).await?;
    match &reply {
        Value::Array(pair) => match pair.as_slice() {
            [_, Value::Bulk(value)] => Ok(String::from_utf8_lossy(value).into_owned()),
            _ => bail!("CONFIG GET durability-max-lag: {reply:?}"),
        },
        _ => bail!("CONFIG GET durability-max-lag: {reply:?}"),
    }
}

/// Changes `durability-max-lag` in the whole cluster.
pub async fn set_max_lag(dir: &Path, value: &str) -> Result<()> {
    let reply = ask(dir, &[b"CONFIG", b"SET", b"durability-max-lag", value.as_bytes()]).await?;
    ensure!(matches!(reply, Value::Simple(_)), "CONFIG SET durability-max-lag {value}: {reply:?}");
    Ok(())
}

/// The state of a borrowed cluster before a demo: all nodes up, no faults, and these settings.
pub struct Before {
    /// The durability mode.
    pub mode: String,
    max_lag: String,
}

impl Before {
    /// Observes the cluster; refuses one that is not whole, or has faults.
    pub async fn of(driver: &ProcessDriver, dir: &Path) -> Result<Before> {
        let view = LabView::gather(driver).await;
        ensure!(
            view.nodes.iter().all(|node| node.process.may_answer()) && view.primaries.iter().all(Option::is_some),
            "the cluster in {} is not whole: start its nodes first (`fastness lab status` shows them)",
            dir.display()
        );
        ensure!(
            !view.nodes.iter().any(NodeView::has_faults),
            "the cluster in {} has faults already: heal them first (`fastness lab status` shows them)",
            dir.display()
        );
        let mode = view.modes.first().cloned().flatten().context("the cluster does not report its mode")?;
        Ok(Before { mode, max_lag: max_lag(dir).await? })
    }

    /// Brings all nodes back, heals all faults, and restores the settings, as far as a demo has not done so itself.
    pub async fn restore(&self, driver: &ProcessDriver, dir: &Path) -> Result<()> {
        let mut down = Vec::new();
        for node in driver.nodes() {
            match driver.process(node.id) {
                ProcessState::Paused(_) => driver.resume(node.id).await?,
                ProcessState::Running(_) | ProcessState::Unknown => {}
                ProcessState::Stopping | ProcessState::Down => down.push(node.id),
            }
        }
        if !down.is_empty() {
            driver.start(&down).await?;
        }
        for node in LabView::gather(driver).await.nodes {
            if node.disk.is_some() {
                driver.set_disk(&node.node, DiskFault::default()).await?;
            }
            for link in &node.links {
                driver.set_link(&node.node, healed(link.to_node)).await?;
            }
        }
        if max_lag(dir).await? != self.max_lag {
            set_max_lag(dir, &self.max_lag).await?;
        }
        let mode = LabView::settled(driver).await.modes.first().cloned().flatten();
        if mode.as_ref() != Some(&self.mode) {
            set_mode(dir, &self.mode).await?;
        }
        Ok(())
    }
}
