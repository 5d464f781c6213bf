//! `fastness cluster master-key` and `rotate-master-key`: which master key each node's disk is under, and its exchange.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use clap::Args;
use fastness_wire::admin::v1::{NodeSpec, RotateMasterKeyResponse, ShowMasterKeyResponse};
use serde_json::json;

use crate::admin::Admin;
use crate::connection::{Connection, first_that_answers};
use crate::table::Table;

/// Arguments of both commands.
#[derive(Debug, Args)]
pub struct MasterKeyArguments {
    #[command(flatten)]
    connection: Connection,
    /// Only this node; repeat it to give several [default: every node of the cluster]
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<u64>,
}

pub const ROTATE_EXAMPLE: &str = "\
Example, for a node whose config has `master-key-file /etc/fastness/master.key`:
  (umask 077; openssl rand -hex 32 > /etc/fastness/master.key.new)       # on each node, as the user of the node
  fastness cluster master-key --address 10.0.1.1:17379 --ca ca.crt --admin-cert admin.crt --admin-key admin.key
  fastness cluster rotate-master-key --address 10.0.1.1:17379 --ca ca.crt --admin-cert admin.crt --admin-key admin.key";

/// Prints which key each node is under.
pub async fn show(arguments: MasterKeyArguments) -> Result<()> {
    let (admin, nodes) = selected(&arguments).await?;
    let shown = show_each(&admin, &nodes).await;
    if arguments.connection.json {
        println!("{}", serde_json::to_string_pretty(&shown.iter().map(shown_as_json).collect::<Vec<_>>())?);
    } else {
        print!("{}", shown_as_text(&shown));
    }
    let unknown = shown.iter().filter(|(_, shown)| shown.is_err()).count();
    ensure!(unknown == 0, "{unknown} of {} nodes did not answer", shown.len());
    Ok(())
}

/// Rotates the key of each node, one after the other. Nothing is changed anywhere if one of them would refuse.
pub async fn rotate(arguments: MasterKeyArguments) -> Result<()> {
    let (admin, nodes) = selected(&arguments).await?;
    let shown = show_each(&admin, &nodes).await;
    let refusals: Vec<String> = shown.iter().filter_map(|(node, shown)| refusal(*node, shown)).collect();
    if !refusals.is_empty() {
        bail!("no node's key was rotated:\n  {}", refusals.join("\n  "));
    }
    let mut rotated = Vec::new();
    for node in &nodes {
        let answer = admin.rotate_master_key(&node.grpc_address).await;
        let failed = answer.is_err();
        if !arguments.connection.json {
            print!("{}", rotated_as_text(node.id, &answer));
        }
        rotated.push((node.id, answer));
        if failed {
            break;
        }
    }
    if arguments.connection.json {
        println!("{}", serde_json::to_string_pretty(&rotated.iter().map(rotated_as_json).collect::<Vec<_>>())?);
    }
    let done = rotated.iter().filter(|(_, answer)| answer.is_ok()).count();
    ensure!(
        done == nodes.len(),
        "{done} of {} nodes have rotated their key; the others are unchanged unless the message says otherwise. Repeat the \
         command for them with --node",
        nodes.len()
    );
    Ok(())
}

/// The nodes of the cluster that the arguments select.
async fn selected(arguments: &MasterKeyArguments) -> Result<(Admin, Vec<NodeSpec>)> {
    let (admin, addresses) = arguments.connection.open()?;
    let mut nodes = first_that_answers!(&addresses, |address| admin.describe(address))?.nodes;
    if let Some(unknown) = arguments.nodes.iter().find(|id| nodes.iter().all(|node| node.id != **id)) {
        bail!("the cluster has no node {unknown}");
    }
    nodes.retain(|node| arguments.nodes.is_empty() || arguments.nodes.contains(&node.id));
    nodes.sort_by_key(|node| node.id);
    Ok((admin, nodes))
}

type Answers<T> = Vec<(u64, Result<T>)>;

/// Calls all nodes at once.
async fn show_each(admin: &Admin, nodes: &[NodeSpec]) -> Answers<ShowMasterKeyResponse> {
    let call = |node: &NodeSpec| {
        let (admin, address) = (admin.clone(), node.grpc_address.clone());
        (node.id, tokio::spawn(async move { admin.show_master_key(&address).await }))
    };
    let mut shown = Vec::new();
    for (id, call) in nodes.iter().map(call).collect::<Vec<_>>() {
        shown.push((id, call.await.unwrap_or_else(|error| Err(error.into()))));
    }
    shown
}

fn refusal(node: u64, shown: &Result<ShowMasterKeyResponse>) -> Option<String> {
    match shown {
        Err(error) => Some(format!("node {node}: {error:#}")),
        Ok(shown) if shown.refusal.is_empty() => None,
        Ok(shown) => Some(format!("node {node}: {}", shown.refusal)),
    }
}

fn age(since_s: u64) -> String {
    if since_s == 0 {
        return "unknown".to_owned();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (age_s, day_s) = (now.saturating_sub(since_s), 86_400);
    match age_s {
        0..60 => format!("{age_s} s"),
        60..3_600 => format!("{} min", age_s / 60),
        3_600..172_800 => format!("{} h", age_s / 3_600),
        _ => format!("{} days", age_s / day_s),
    }
}

fn shown_as_text(shown: &Answers<ShowMasterKeyResponse>) -> String {
    let mut table = Table::new(&["NODE", "KEY", "AGE", "NEW KEY"]);
    let mut notes = String::new();
    for (node, answer) in shown {
        match answer {
            Ok(of) => {
                let new = if of.new_fingerprint.is_empty() { "none" } else { &of.new_fingerprint };
                table.row([node.to_string(), of.fingerprint.clone(), age(of.since_s), new.to_owned()]);
                if !of.refusal.is_empty() {
                    notes += &format!("node {node}: {}\n", of.refusal);
                }
                if !of.retired_fingerprint.is_empty() {
                    let retired = &of.retired_fingerprint;
                    notes += &format!(
                        "node {node}: the rotation from key {retired} is incomplete: rotate-master-key completes it\n"
                    );
                }
                notes.extend(of.warnings.iter().map(|warning| format!("node {node}: {warning}\n")));
            }
            Err(error) => {
                table.row([node.to_string(), "no answer".to_owned(), String::new(), String::new()]);
                notes += &format!("node {node}: {error:#}\n");
            }
        }
    }
    format!("{table}\n{notes}")
}

fn shown_as_json((node, answer): &(u64, Result<ShowMasterKeyResponse>)) -> serde_json::Value {
    match answer {
        Ok(of) => json!({
            "node": node, "fingerprint": of.fingerprint, "since_s": of.since_s, "new_fingerprint": of.new_fingerprint,
            "refusal": of.refusal, "retired_fingerprint": of.retired_fingerprint, "warnings": of.warnings,
        }),
        Err(error) => json!({ "node": node, "error": format!("{error:#}") }),
    }
}

fn rotated_as_text(node: u64, answer: &Result<RotateMasterKeyResponse>) -> String {
    let of = match answer {
        Ok(of) => of,
        Err(error) => return format!("node {node}: {error:#}\n"),
    };
    let from = match of.previous_fingerprint.as_str() {
        "" => "an earlier rotation is complete".to_owned(),
        from => format!("rotated from key {from}"),
    };
    let (key, data_keys, snapshots) = (&of.fingerprint, of.data_keys, of.snapshot_files);
    let mut text = format!(
        "node {node}: {from}; key {key} is in force and wraps {data_keys} data keys, and those of {snapshots} more snapshot files\n"
    );
    text.extend(of.warnings.iter().map(|warning| format!("node {node}: warning: {warning}\n")));
    text
}

fn rotated_as_json((node, answer): &(u64, Result<RotateMasterKeyResponse>)) -> serde_json::Value {
    match answer {
        Ok(of) => json!({
            "node": node, "fingerprint": of.fingerprint, "previous_fingerprint": of.previous_fingerprint,
            "data_keys": of.data_keys, "snapshot_files": of.snapshot_files, "warnings": of.warnings,
        }),
        Err(error) => json!({ "node": node, "error": format!("{error:#}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(refusal: &str, retired: &str) -> ShowMasterKeyResponse {
        ShowMasterKeyResponse {
            node_id: 1,
            fingerprint: "0011223344556677".into(),
            refusal: refusal.into(),
            retired_fingerprint: retired.into(),
            ..ShowMasterKeyResponse::default()
        }
    }

    #[test]
    fn a_node_that_would_refuse_is_named_before_any_other_is_changed() {
        assert_eq!(refusal(1, &Ok(shown("", ""))), None);
        assert_eq!(refusal(2, &Ok(shown("there is no new key", ""))).unwrap(), "node 2: there is no new key");
        assert_eq!(refusal(3, &Err(anyhow::anyhow!("no answer"))).unwrap(), "node 3: no answer");
    }

    #[test]
    fn ages_are_whole_units() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(age(0), "unknown");
        for (ago_s, text) in [(130, "2 min"), (7_300, "2 h"), (864_100, "10 days")] {
            assert_eq!(age(now - ago_s), text);
        }
        assert_eq!(age(now + 100), "0 s", "the clock was set back");
    }

    #[test]
    fn what_was_done_is_told_per_node() {
        let done = RotateMasterKeyResponse {
            node_id: 1,
            fingerprint: "bb".into(),
            previous_fingerprint: "aa".into(),
            data_keys: 3,
            snapshot_files: 4,
            warnings: vec!["move it".into()],
        };
        let text = rotated_as_text(1, &Ok(done));
        assert_eq!(
            text,
            "node 1: rotated from key aa; key bb is in force and wraps 3 data keys, and those of 4 more snapshot files\n\
             node 1: warning: move it\n"
        );
        let table = shown_as_text(&vec![(1, Ok(shown("no new key", ""))), (2, Err(anyhow::anyhow!("refused")))]);
        for part in ["0011223344556677", "unknown", "node 1: no new key", "no answer", "node 2: refused"] {
            assert!(table.contains(part), "{table}");
        }
    }
}
