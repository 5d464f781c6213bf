//! `fastness lab console`: the web console of a lab, with the verbs as buttons.
//!
//! It is a process of its own on the host, because no node may kill itself, and because the nodes of the lab in
//! containers must not reach Docker's socket. It listens on loopback only. A button runs the same command that a user
//! would type, as a child process: `fastness lab VERB … --dir DIR`, with words from a closed table
//! (`fastness_console::web::verbs`) and targets that the lab has. Nothing that a browser sends becomes an argument.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use clap::Args;
use fastness_console::http::{HttpBounds, Plaintext, serve};
use fastness_console::web::feed::Feed;
use fastness_console::web::router::Console;
use fastness_console::web::verbs::{ChosenVerb, LabZones, VerbDesk, VerbOutcome, VerbRunner};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::driver::Driver;
use super::target::LabTarget;
use crate::admin_calls::AdminCluster;

/// The port, unless another one is given.
const PORT: u16 = 7390;
/// Time limit of a verb. The longest one stops a load, which reads everything back first.
const VERB_TIME_MAX: Duration = Duration::from_secs(240);
/// The bounds of the listener.
const BOUNDS: HttpBounds = HttpBounds {
    connections_max: 64,
    head_time_max: Duration::from_secs(10),
    connection_time_max: Duration::from_secs(120),
};

/// Arguments of the command.
#[derive(Debug, Args)]
pub struct ConsoleArguments {
    #[command(flatten)]
    target: LabTarget,
    /// Port on 127.0.0.1; 0: one that is free
    #[arg(long, value_name = "P", default_value_t = PORT)]
    port: u16,
}

/// Serves the console until a signal ends it.
pub async fn run(arguments: &ConsoleArguments) -> Result<()> {
    let ConsoleArguments { target, port } = arguments;
    ensure!(
        !target.has_addresses(),
        "the buttons drive the processes of a lab on this machine: give --dir, no --address"
    );
    let driver = target.driver().await?;
    let addresses = driver.nodes().iter().map(|node| node.grpc.clone()).collect();
    let cluster = AdminCluster::new(driver.admin().clone(), addresses);
    let dir = target.dir().canonicalize()?;
    let verbs = LabProgram { program: std::env::current_exe()?, dir, zones: zones(&*driver) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).await;
    let listener = listener.with_context(|| format!("port {port} of 127.0.0.1: give another one with --port"))?;
    let url = format!("http://{}/console", listener.local_addr()?);
    if target.json() {
        println!("{}", serde_json::json!({ "console": url }));
    } else {
        println!("{url}\n\nThe console of this lab, with the verbs as buttons, for this machine only. Ctrl-C ends it.");
    }
    let console = Console::of_lab(Feed::new(Arc::new(cluster)), VerbDesk::new(Arc::new(verbs)));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve(listener, console.router(), Arc::new(Plaintext), BOUNDS, end).await;
    Ok(())
}

fn zones(driver: &dyn Driver) -> LabZones {
    let mut zones: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for node in driver.nodes() {
        zones.entry(node.az.clone()).or_default().push(node.id);
    }
    zones.into_iter().collect()
}

/// Runs the verbs of one lab with this program.
struct LabProgram {
    program: PathBuf,
    dir: PathBuf,
    zones: LabZones,
}

#[async_trait]
impl VerbRunner for LabProgram {
    fn zones(&self) -> &LabZones {
        &self.zones
    }

    async fn run(&self, verb: &ChosenVerb) -> VerbOutcome {
        let mut command = Command::new(&self.program);
        command.arg("lab").args(verb.words()).arg("--dir").arg(&self.dir);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let failed = |output: String| VerbOutcome { is_ok: false, output };
        match tokio::time::timeout(VERB_TIME_MAX, command.output()).await {
            Err(_) => failed(format!("it did not end within {} s and was killed", VERB_TIME_MAX.as_secs())),
            Ok(Err(error)) => failed(format!("{} cannot be run: {error}", self.program.display())),
            Ok(Ok(ended)) => {
                let printed = [ended.stdout, ended.stderr].concat();
                let output = String::from_utf8_lossy(&printed).trim_end().to_owned();
                VerbOutcome { is_ok: ended.status.success(), output }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use fastness_console::web::verbs::{TargetKind, VERBS};

    use super::super::LabCommand;
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: LabCommand,
    }

    #[test]
    fn each_button_is_a_command_of_the_lab() {
        let zones = vec![("az-a".to_owned(), vec![1])];
        for verb in VERBS {
            let target = match verb.target {
                TargetKind::Zone => "az-a",
                TargetKind::Node => "1",
                TargetKind::Load => "",
            };
            let words = ChosenVerb::of(&zones, verb.name, target).unwrap().words();
            let line = ["lab".to_owned()].into_iter().chain(words).chain(["--dir".to_owned(), "/lab".to_owned()]);
            let parsed = Line::try_parse_from(line).map(|line| line.command);
            assert!(parsed.is_ok(), "{}: {parsed:?}", verb.name);
        }
    }

    #[tokio::test]
    async fn a_verb_is_the_program_with_the_labs_folder() {
        let zones = vec![("a; exit 3".to_owned(), vec![1])];
        let verb = ChosenVerb::of(&zones, "az-down", "a; exit 3").unwrap();
        let outcome_of = async |program: &str| {
            let lab = LabProgram { program: program.into(), dir: "/a folder".into(), zones: zones.clone() };
            lab.run(&verb).await
        };
        let outcome = outcome_of("/bin/echo").await;
        assert_eq!(outcome, VerbOutcome { is_ok: true, output: "lab az down a; exit 3 --dir /a folder".to_owned() });
        assert!(!outcome_of("/bin/false").await.is_ok);
        assert!(outcome_of("/nowhere/fastness").await.output.contains("cannot be run"));
    }
}
