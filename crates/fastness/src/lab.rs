//! `fastness lab …`: fault injection, in clusters that are made for it.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use fastness_wire::admin::v1::NodeSpec;
use fastness_wire::lab::v1::{
    DiskFault, DiskFaultKind, LinkFault, SetDiskFaultRequest, SetLinkFaultRequest, ShowFaultsResponse,
};
use serde_json::json;

use crate::admin::Admin;
use crate::connection::{Connection, first_that_answers};
use crate::table::Table;

/// The subcommands of `fastness lab`.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Stall, slow, fill or fail the writes of a node's log
    ///
    /// A node has one disk fault at a time: a new one replaces the old one. A restart of the node heals it.
    #[command(after_help = DISK_FAULTS)]
    Disk {
        #[command(flatten)]
        connection: Connection,
        /// The node
        #[arg(long)]
        node: u64,
        /// stall, slow MS, fill, fail or heal
        #[arg(value_name = "FAULT", required = true, num_args = 1..=2)]
        fault: Vec<String>,
    },
    /// Delay, drop, rate-limit or cut the traffic from one node to another
    ///
    /// Affects one direction only. Faults of the same link are combined until they are healed. As with TCP, order is
    /// kept, and nothing is lost within a connection that stays open. A restart of the sending node heals them.
    #[command(after_help = LINK_FAULTS)]
    Link {
        #[command(flatten)]
        connection: Connection,
        /// The sending node
        #[arg(long)]
        from: u64,
        /// The receiving node
        #[arg(long)]
        to: u64,
        /// delay MS, drop PERCENT, rate BYTES, cut or heal
        #[arg(value_name = "FAULT", required = true, num_args = 1..=2)]
        fault: Vec<String>,
    },
    /// Show all faults that are set
    Show {
        #[command(flatten)]
        connection: Connection,
    },
}

const DISK_FAULTS: &str = "\
Faults:
  stall     writes wait, without an error; the node hands over leadership after 2 s
  slow MS   each synced write takes MS milliseconds more
  fill      writes fail for lack of space; the node hands over leadership, waits, and restarts once the fault is healed
  fail      the next fsync fails, once; the node hands over leadership and stops: start it again
  heal      removes the fault

Example: fastness lab disk --node 1 slow 50 --dir .fastness-dev";

const LINK_FAULTS: &str = "\
Faults:
  delay MS      frames arrive MS milliseconds later
  drop PERCENT  PERCENT of the frames are lost and sent again after 200 ms, 400 ms, …; later frames wait
  rate BYTES    at most BYTES bytes per second arrive
  cut           no frame arrives
  heal          removes all faults of the link

Example: fastness lab link --from 1 --to 2 delay 40 --dir .fastness-dev";

/// The nodes of a cluster, and the client to call them.
struct Nodes {
    admin: Admin,
    nodes: Vec<NodeSpec>,
}

impl Nodes {
    async fn of(connection: &Connection) -> Result<Nodes> {
        let (admin, addresses) = connection.open()?;
        let map = first_that_answers!(&addresses, |address| admin.describe(address))?;
        Ok(Nodes { admin, nodes: map.nodes })
    }

    fn address(&self, node: u64) -> Result<&str> {
        let found = self.nodes.iter().find(|spec| spec.id == node);
        Ok(&found.with_context(|| format!("there is no node {node}"))?.grpc_address)
    }
}

/// Runs a subcommand.
pub async fn run(command: LabCommand) -> Result<()> {
    match command {
        LabCommand::Disk { connection, node, fault } => {
            let fault = disk_fault(&fault)?;
            let nodes = Nodes::of(&connection).await?;
            nodes.admin.set_disk_fault(nodes.address(node)?, SetDiskFaultRequest { fault: Some(fault) }).await?;
            println!("the disk of node {node}: {}", disk_text(&fault));
        }
        LabCommand::Link { connection, from, to, fault } => {
            let request = link_request(to, &fault)?;
            let nodes = Nodes::of(&connection).await?;
            nodes.admin.set_link_fault(nodes.address(from)?, request).await?;
            let shown = nodes.admin.show_faults(nodes.address(from)?).await?;
            let link = shown.links.iter().find(|link| link.to_node == to);
            println!("the link from node {from} to node {to}: {}", link.map_or("healed".to_owned(), link_text));
        }
        LabCommand::Show { connection } => show(&connection).await?,
    }
    Ok(())
}

fn disk_fault(words: &[String]) -> Result<DiskFault> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (kind, slow_ms) = match words[..] {
        ["stall"] => (DiskFaultKind::Stall, 0),
        ["slow", ms] => (DiskFaultKind::Slow, number(ms)?),
        ["fill"] => (DiskFaultKind::Fill, 0),
        ["fail"] => (DiskFaultKind::Fail, 0),
        ["heal"] => (DiskFaultKind::Unspecified, 0),
        _ => bail!("{:?} is not one of stall, slow MS, fill, fail, heal", words.join(" ")),
    };
    Ok(DiskFault { kind: kind.into(), slow_ms, met: 0 })
}

fn link_request(to: u64, words: &[String]) -> Result<SetLinkFaultRequest> {
    let mut set = LinkFault { to_node: to, ..LinkFault::default() };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["delay", ms] => set.delay_ms = Some(number(ms)?),
        ["drop", percent] => set.drop_percent = Some(number(percent)?),
        ["rate", bytes] => set.rate_bytes_per_second = Some(number(bytes)?),
        ["cut"] => set.cut = Some(true),
        ["heal"] => return Ok(SetLinkFaultRequest { fault: Some(set), heal: true }),
        _ => bail!("{:?} is not one of delay MS, drop PERCENT, rate BYTES, cut, heal", words.join(" ")),
    }
    Ok(SetLinkFaultRequest { fault: Some(set), heal: false })
}

fn number<N: FromStr>(text: &str) -> Result<N> {
    text.parse().ok().with_context(|| format!("{text:?} is not a valid number"))
}

fn disk_text(fault: &DiskFault) -> String {
    match fault.kind() {
        DiskFaultKind::Unspecified => "healed".to_owned(),
        DiskFaultKind::Stall => "writes stall".to_owned(),
        DiskFaultKind::Slow => format!("writes take {} ms more", fault.slow_ms),
        DiskFaultKind::Fill => "writes fail for lack of space".to_owned(),
        DiskFaultKind::Fail => "the next fsync fails".to_owned(),
    }
}

fn link_text(fault: &LinkFault) -> String {
    let mut parts = Vec::new();
    if fault.cut() {
        parts.push("cut".to_owned());
    }
    if fault.delay_ms() > 0 {
        parts.push(format!("delay {} ms", fault.delay_ms()));
    }
    if fault.drop_percent() > 0 {
        parts.push(format!("drop {} %", fault.drop_percent()));
    }
    if fault.rate_bytes_per_second() > 0 {
        parts.push(format!("rate {} bytes/s", fault.rate_bytes_per_second()));
    }
    if parts.is_empty() { "healed".to_owned() } else { parts.join(", ") }
}

async fn show(connection: &Connection) -> Result<()> {
    let nodes = Nodes::of(connection).await?;
    let mut found: Vec<(u64, Result<ShowFaultsResponse>)> = Vec::new();
    for node in &nodes.nodes {
        found.push((node.id, nodes.admin.show_faults(&node.grpc_address).await));
    }
    if connection.json {
        println!("{}", serde_json::to_string_pretty(&json!(found.iter().map(as_json).collect::<Vec<_>>()))?);
        return Ok(());
    }
    let mut table = Table::new(&["NODE", "WHAT", "FAULT", "MET"]);
    for (node, shown) in &found {
        match shown {
            Err(error) => table.row([node.to_string(), "-".to_owned(), format!("{error:#}"), String::new()]),
            Ok(shown) => {
                if let Some(disk) = &shown.disk {
                    table.row([node.to_string(), "disk".to_owned(), disk_text(disk), disk.met.to_string()]);
                }
                for link in &shown.links {
                    let what = format!("link to node {}", link.to_node);
                    table.row([node.to_string(), what, link_text(link), link.met.to_string()]);
                }
            }
        }
    }
    print!("{table}");
    Ok(())
}

fn as_json((node, shown): &(u64, Result<ShowFaultsResponse>)) -> serde_json::Value {
    match shown {
        Err(error) => json!({ "node": node, "error": format!("{error:#}") }),
        Ok(shown) => {
            let disk = shown.disk.as_ref().map(|disk| json!({ "fault": disk_text(disk), "met": disk.met }));
            let link = |link: &LinkFault| {
                json!({
                    "to": link.to_node, "cut": link.cut(), "delay_ms": link.delay_ms(), "drop_percent": link.drop_percent(),
                    "rate_bytes_per_second": link.rate_bytes_per_second(), "met": link.met,
                })
            };
            json!({ "node": node, "disk": disk, "links": shown.links.iter().map(link).collect::<Vec<_>>() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn setting_one_fault_of_a_link_keeps_the_others() {
        let request = link_request(3, &words("delay 40")).unwrap();
        let fault = request.fault.unwrap();
        assert_eq!((fault.to_node, fault.delay_ms, fault.cut, request.heal), (3, Some(40), None, false));
        assert_eq!(link_text(&fault), "delay 40 ms");
        let healed = link_request(3, &words("heal")).unwrap();
        assert!(healed.heal && healed.fault.unwrap().cut.is_none());
    }

    #[test]
    fn an_unknown_fault_is_refused() {
        for wrong in ["slow", "slow x", "stall 3", "break"] {
            disk_fault(&words(wrong)).unwrap_err();
        }
        for wrong in ["delay", "delay -1", "cut 3", "rate fast"] {
            link_request(1, &words(wrong)).unwrap_err();
        }
        assert_eq!(disk_text(&disk_fault(&words("slow 20")).unwrap()), "writes take 20 ms more");
    }
}
