//! `fastness cluster events`: the journals of all nodes, merged by time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use fastness_console::watch::journal_cursor::{JournalCursor, NodeEvent, value_text};
use fastness_wire::admin::v1::ListEventsRequest;
use fastness_wire::admin::v1::event_field::Value;
use serde_json::json;

use crate::admin::Admin;
use crate::connection::{Connection, first_that_answers};

/// Time between two polls of the nodes with --follow.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Arguments of the command.
#[derive(Debug, Args)]
pub struct EventsArguments {
    #[command(flatten)]
    connection: Connection,
    /// Only events since then: a span such as 90s, 10m or 2h, or a time such as 2026-11-29T12:00:00Z [default: all]
    #[arg(long, value_name = "SPAN|TIME")]
    since: Option<String>,
    /// Only events of these kinds, such as elected,leadership_lost [default: all]
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Only events of this node [default: all nodes]
    #[arg(long, value_name = "ID")]
    node: Option<u64>,
    /// Only events of this shard; 0: of the control plane [default: all]
    #[arg(long, value_name = "SHARD")]
    shard: Option<u32>,
    /// Print further events as they are recorded, until interrupted
    #[arg(long)]
    follow: bool,
}

/// Runs the command.
pub async fn run(arguments: EventsArguments) -> Result<()> {
    let (admin, addresses) = arguments.connection.open()?;
    let map = first_that_answers!(&addresses, |address| admin.describe(address))?;
    let nodes = map.nodes.iter().filter(|node| arguments.node.is_none_or(|wanted| wanted == node.id));
    let mut readers: Vec<_> = nodes.map(|node| JournalReader::new(node.id, node.grpc_address.clone())).collect();
    if readers.is_empty() {
        bail!("the cluster has no node {}", arguments.node.unwrap_or_default());
    }
    let since_ms = arguments.since.as_deref().map(|text| since(text, SystemTime::now())).transpose()?.unwrap_or(0);
    let EventsArguments { kind: kinds, shard, .. } = arguments;
    let request = ListEventsRequest { since_ms, kinds, shard, ..ListEventsRequest::default() };
    loop {
        let answered = read_all(&admin, &mut readers, &request).await;
        if !answered && !arguments.follow {
            bail!("no node has answered");
        }
        let mut events: Vec<_> = readers.iter_mut().flat_map(JournalReader::take).collect();
        events.sort_by_key(|seen| (seen.event.at_ms, seen.node, seen.event.number));
        for seen in &events {
            println!("{}", if arguments.connection.json { json_of(seen).to_string() } else { line_of(seen) });
        }
        if !arguments.follow {
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The time of `--since`, in ms since the Unix epoch.
fn since(text: &str, now: SystemTime) -> Result<u64> {
    let at = match humantime::parse_duration(text) {
        Ok(span) => now.checked_sub(span).unwrap_or(UNIX_EPOCH),
        Err(_) => humantime::parse_rfc3339_weak(text).map_err(|_| {
            anyhow!("--since: {text:?} is neither a span such as 10m nor a time in UTC such as 2026-11-29T12:00:00Z")
        })?,
    };
    Ok(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

/// Reads from every node, all at once. False if none has answered.
async fn read_all(admin: &Admin, readers: &mut [JournalReader], request: &ListEventsRequest) -> bool {
    let reads = readers.iter_mut().map(|reader| async move {
        let outcome = reader.read(admin, request).await;
        let answered = outcome.is_ok();
        reader.report(outcome.err());
        answered
    });
    futures::future::join_all(reads).await.contains(&true)
}

/// Reads the journal of one node, and reports its problems.
struct JournalReader {
    node: u64,
    address: String,
    cursor: JournalCursor,
    /// The reason why the node did not answer, as it was reported last.
    unanswered: Option<String>,
    read: Vec<NodeEvent>,
}

impl JournalReader {
    fn new(node: u64, address: String) -> JournalReader {
        JournalReader { node, address, cursor: JournalCursor::default(), unanswered: None, read: Vec::new() }
    }

    /// Reads what is new.
    async fn read(&mut self, admin: &Admin, request: &ListEventsRequest) -> Result<()> {
        let was_full = self.cursor.discarded() > 0;
        let node = admin.node(&self.address).await?;
        let outcome = self.cursor.read(&node, request, &mut self.read).await;
        let discarded = self.cursor.discarded();
        if !was_full && discarded > 0 {
            eprintln!("node {}: its journal is full; {discarded} events were discarded", self.node);
        }
        Ok(outcome?)
    }

    /// Reports on standard error that the node does not answer, once per reason.
    fn report(&mut self, error: Option<anyhow::Error>) {
        let reason = error.map(|error| error.to_string());
        if let Some(reason) = reason.as_ref().filter(|_| reason != self.unanswered) {
            eprintln!("node {}: {reason}", self.node);
        }
        self.unanswered = reason;
    }

    /// What was read since the last call.
    fn take(&mut self) -> Vec<NodeEvent> {
        std::mem::take(&mut self.read)
    }
}

/// An event as a line of text.
fn line_of(seen: &NodeEvent) -> String {
    let NodeEvent { node, az, event } = seen;
    let at = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(event.at_ms));
    let fields: BTreeMap<&str, String> =
        event.fields.iter().map(|field| (field.name.as_str(), value_text(field.value.as_ref()))).collect();
    let shard = match fields.get("shard").map(String::as_str) {
        Some("0") => "control".to_owned(),
        Some(shard) => format!("shard {shard}"),
        None => "-".to_owned(),
    };
    let term = fields.get("term").map_or_else(String::new, |term| format!("term {term}"));
    let others = event.fields.iter().filter(|field| !["shard", "term"].contains(&field.name.as_str()));
    let others: Vec<_> = others.map(|field| format!("{}={}", field.name, value_text(field.value.as_ref()))).collect();
    let line = format!(
        "{at}  node {node} ({az})  {shard:<8}  {term:<8}  {level:<5}  {kind:<20}  {others}",
        level = event.level,
        kind = event.kind,
        others = others.join(" ")
    );
    line.trim_end().to_owned()
}

/// An event as JSON.
fn json_of(seen: &NodeEvent) -> serde_json::Value {
    let NodeEvent { node, az, event } = seen;
    let fields = event.fields.iter().map(|field| (field.name.clone(), value_json(field.value.as_ref())));
    let at = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(event.at_ms));
    json!({
        "at": at.to_string(), "at_ms": event.at_ms, "node": node, "az": az, "number": event.number,
        "kind": event.kind, "level": event.level, "text": event.text,
        "fields": fields.collect::<serde_json::Map<_, _>>(),
    })
}

fn value_json(value: Option<&Value>) -> serde_json::Value {
    match value {
        Some(Value::UnsignedValue(number)) => json!(number),
        Some(Value::SignedValue(number)) => json!(number),
        Some(Value::BoolValue(truth)) => json!(truth),
        Some(Value::TextValue(text)) => json!(text),
        None => serde_json::Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use fastness_wire::admin::v1::{EventField, RecordedEvent};

    use super::*;

    #[test]
    fn since_is_a_span_or_a_time() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(since("10m", now).unwrap(), 999_400_000);
        assert_eq!(since("90s", now).unwrap(), 999_910_000);
        assert_eq!(since("1970-01-02T00:00:00Z", now).unwrap(), 86_400_000);
        assert!(since("yesterday", now).unwrap_err().to_string().contains("10m"));
    }

    #[test]
    fn an_event_is_a_line() {
        let field = |name: &str, value| EventField { name: name.to_owned(), value: Some(value) };
        let event = RecordedEvent {
            number: 3,
            at_ms: 86_400_012,
            kind: "elected".to_owned(),
            level: "INFO".to_owned(),
            text: "elected leader".to_owned(),
            fields: vec![
                field("shard", Value::UnsignedValue(2)),
                field("term", Value::UnsignedValue(7)),
                field("reason", Value::TextValue("leader-silent".to_owned())),
                field("error", Value::TextValue("no node".to_owned())),
            ],
        };
        let seen = NodeEvent { node: 1, az: "az-a".to_owned(), event };
        let expected = "1970-01-02T00:00:00.012Z  node 1 (az-a)  shard 2   term 7    INFO   elected               \
                        reason=leader-silent error=\"no node\"";
        assert_eq!(line_of(&seen), expected);
        assert_eq!(json_of(&seen)["fields"]["term"], 7);
        assert_eq!(json_of(&seen)["at"], "1970-01-02T00:00:00.012Z");
    }
}
