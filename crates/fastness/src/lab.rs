//! `fastness lab …`: fault injection, in clusters that are made for it.

use anyhow::Result;
use clap::Subcommand;
use console::ConsoleArguments;
use demo::DemoArguments;
use load::LoadCommand;
use target::{LabTarget, VerbTarget};
use verbs::{AzVerb, NodeVerb};
use view::LabView;

mod console;
mod containers;
mod demo;
mod driver;
mod faults;
mod load;
mod processes;
mod remote;
mod target;
mod verbs;
mod view;

/// The subcommands of `fastness lab`.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Kill, start, cut off, slow or heal a whole AZ
    #[command(subcommand)]
    Az(AzVerb),
    /// Kill, pause, resume or start one node
    #[command(subcommand)]
    Node(NodeVerb),
    /// Stall, slow, fill or fail the writes of a node's log
    ///
    /// A node has one disk fault at a time: a new one replaces the old one. A restart of the node heals it.
    #[command(after_help = DISK_FAULTS)]
    Disk {
        #[command(flatten)]
        target: VerbTarget,
        /// The node
        #[arg(long)]
        node: u64,
        /// stall, slow MS, full, fail or heal
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
        target: VerbTarget,
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
    /// Start, stop or observe a load that knows every acknowledged write
    #[command(subcommand)]
    Load(LoadCommand),
    /// Show what a fault does to a load, step by step, with a verdict; exit status 1 if a promise is broken
    Demo(DemoArguments),
    /// Serve the lab's web console on this machine, with the verbs as buttons
    ///
    /// It shows what `fastness top` shows, live, with charts. Only its own page can press its buttons, and only
    /// browsers on this machine reach it. The console of a node (/console on its metrics port) only shows.
    Console(ConsoleArguments),
    /// Show every node with its process, its roles and its faults
    Status {
        #[command(flatten)]
        target: LabTarget,
    },
}

const DISK_FAULTS: &str = "\
Faults:
  stall     writes wait, without an error; the node hands over leadership after 2 s
  slow MS   each synced write takes MS milliseconds more
  full      writes fail for lack of space; the node hands over leadership, waits, and restarts once the fault is healed
  fail      the next fsync fails, once; the node hands over leadership and stops: start it again
  heal      removes the fault

Example: fastness lab disk stall --node 1";

const LINK_FAULTS: &str = "\
Faults:
  delay MS      frames arrive MS milliseconds later
  drop PERCENT  PERCENT of the frames are lost and sent again after 200 ms, 400 ms, …; later frames wait
  rate BYTES    at most BYTES bytes per second arrive
  cut           no frame arrives
  heal          removes all faults of the link

Example: fastness lab link delay 40 --from 1 --to 2";

/// Runs a subcommand and returns the exit status.
pub async fn run(command: LabCommand) -> Result<u8> {
    match command {
        LabCommand::Az(verb) => verbs::az(verb).await?,
        LabCommand::Node(verb) => verbs::node(verb).await?,
        LabCommand::Disk { target, node, fault } => verbs::disk(&target, node, &fault).await?,
        LabCommand::Link { target, from, to, fault } => verbs::link(&target, from, to, &fault).await?,
        LabCommand::Load(command) => return load::run(command).await,
        LabCommand::Demo(arguments) => return demo::run(arguments).await,
        LabCommand::Console(arguments) => console::run(&arguments).await?,
        LabCommand::Status { target } => status(&target).await?,
    }
    Ok(0)
}

async fn status(target: &LabTarget) -> Result<()> {
    let driver = target.driver().await?;
    let view = LabView::gather(&*driver).await;
    if target.json() {
        println!("{}", serde_json::to_string_pretty(&view.json())?);
    } else {
        print!("{}", view.table());
    }
    Ok(())
}
