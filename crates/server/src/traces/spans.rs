//! The spans of a trace, as OTLP has them.
//!
//! ```text
//! SET                      received … replied or committed, whichever is later; child of the client's span
//! ├─ queue                 received … started: the bytes wait for the loop, the lag gate or the log
//! ├─ execute               started … executed
//! ├─ batch                 executed … proposed: the batch waits for others, or for room in the window
//! ├─ commit                proposed … committed
//! │  ├─ log append         proposed … on this node's disk, synced
//! │  └─ replicate          proposed … acknowledged by another node; one for each
//! └─ reply                 the later of executed and (if the reply waited for it) committed … passed to the socket
//! ```

use fastness_types::{BootNs, NodeId};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use super::record::{TraceOutcome, TraceRecord};

/// An attribute that is text.
pub(super) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.into()))
}

/// An attribute that is a number.
pub(super) fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// Makes the spans of one trace.
struct Spans<'a> {
    record: &'a TraceRecord,
    /// Random, not 0.
    next_id: &'a mut dyn FnMut() -> u64,
    made: Vec<Span>,
}

impl Spans<'_> {
    /// A point in time on the wall clock, ns.
    fn wall(&self, at: BootNs) -> u64 {
        (self.record.wall_ns + at.0).saturating_sub(self.record.began.0)
    }

    /// Adds a span; returns its id.
    fn add(&mut self, parent: u64, name: &str, (from, to): (BootNs, BootNs), attributes: Vec<KeyValue>) -> u64 {
        let id = (self.next_id)();
        self.made.push(Span {
            trace_id: self.record.trace_id.to_be_bytes().to_vec(),
            span_id: id.to_be_bytes().to_vec(),
            parent_span_id: if parent == 0 { Vec::new() } else { parent.to_be_bytes().to_vec() },
            name: name.to_owned(),
            kind: SpanKind::Internal as i32,
            start_time_unix_nano: self.wall(from),
            end_time_unix_nano: self.wall(to.max(from)),
            attributes,
            ..Span::default()
        });
        id
    }

    fn add_root(&mut self) -> u64 {
        let record = self.record;
        let ends = [Some(record.started), record.executed, record.proposed, record.committed, record.replied];
        let end = ends.into_iter().flatten().max().unwrap_or(record.started);
        let (outcome, code) = outcome(record);
        let mut attributes = vec![
            text("db.system.name", "fastness"),
            text("db.operation.name", record.command.replace('|', " ").to_uppercase()),
            text("fastness.family", record.family),
            number("fastness.shard", u64::from(record.shard.0)),
            number("fastness.request.bytes", record.request_bytes as u64),
            number("fastness.reply.bytes", record.reply_bytes as u64),
            text("fastness.outcome", outcome),
        ];
        attributes.extend(record.slot.map(|slot| number("fastness.slot", u64::from(slot.0))));
        attributes.extend(record.index.map(|index| number("fastness.log.index", index.0)));
        let name = record.command.replace('|', " ").to_uppercase();
        let id = self.add(record.parent, &name, (record.received, end), attributes);
        if let Some(root) = self.made.last_mut() {
            root.kind = SpanKind::Server as i32;
            root.status = Some(Status { code: code as i32, ..Status::default() });
        }
        id
    }

    fn add_commit(&mut self, root: u64, (proposed, committed): (BootNs, BootNs)) {
        let commit = self.add(root, "commit", (proposed, committed), Vec::new());
        let stored = self.record.stored.lock().clone();
        if let Some(own) = stored.own {
            self.add(commit, "log append", (proposed, own), Vec::new());
        }
        for (NodeId(node), at) in stored.others {
            self.add(commit, "replicate", (proposed, at), vec![number("fastness.peer", node)]);
        }
    }
}

/// The outcome as an attribute, and as OpenTelemetry's status.
fn outcome(record: &TraceRecord) -> (&'static str, StatusCode) {
    match record.outcome {
        TraceOutcome::NotRun => ("not run", StatusCode::Error),
        TraceOutcome::Error => ("error", StatusCode::Error),
        TraceOutcome::Ok if record.is_staged && record.committed.is_none() => ("not committed", StatusCode::Error),
        TraceOutcome::Ok => ("ok", StatusCode::Unset),
    }
}

/// The spans of a trace; the first one is the root.
pub(super) fn of(record: &TraceRecord, next_id: &mut dyn FnMut() -> u64) -> Vec<Span> {
    let mut spans = Spans { record, next_id, made: Vec::new() };
    let root = spans.add_root();
    spans.add(root, "queue", (record.received, record.started), Vec::new());
    let Some(executed) = record.executed else { return spans.made };
    spans.add(root, "execute", (record.started, executed), Vec::new());
    if let Some(proposed) = record.proposed {
        spans.add(root, "batch", (executed, proposed), Vec::new());
        if let Some(committed) = record.committed {
            spans.add_commit(root, (proposed, committed));
        }
    }
    if let Some(replied) = record.replied {
        // A reply that left before the commit has not waited for it.
        let ready = record.committed.filter(|committed| *committed <= replied).unwrap_or(executed);
        spans.add(root, "reply", (ready, replied), Vec::new());
    }
    spans.made
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use fastness_types::{LogIndex, ShardId, Slot};
    use parking_lot::Mutex;

    use super::*;
    use crate::traces::replication::StoredAt;

    fn record() -> TraceRecord {
        let at = |ms: u64| BootNs(1_000_000_000 + ms * 1_000_000);
        let stored = StoredAt { own: Some(at(6)), others: vec![(NodeId(2), at(8)), (NodeId(3), at(12))] };
        TraceRecord {
            trace_id: 0xabc,
            parent: 7,
            wall_ns: 5_000_000_000,
            began: at(1),
            command: "set",
            family: "string",
            shard: ShardId(2),
            slot: Some(Slot(77)),
            request_bytes: 31,
            reply_bytes: 5,
            outcome: TraceOutcome::Ok,
            received: at(0),
            started: at(1),
            executed: Some(at(2)),
            is_staged: true,
            proposed: Some(at(3)),
            committed: Some(at(9)),
            index: Some(LogIndex(41)),
            replied: Some(at(10)),
            stored: Arc::new(Mutex::new(stored)),
        }
    }

    /// Name, parent's name, start and end in ms of each span.
    fn shown(record: &TraceRecord) -> Vec<String> {
        // None of them is the span of the client.
        let mut last = 100;
        let spans = of(record, &mut || {
            last += 1;
            last
        });
        let name_of = |id: &[u8]| match spans.iter().find(|span| span.span_id == id) {
            Some(span) => span.name.clone(),
            None if id.is_empty() => "none".to_owned(),
            None => "client".to_owned(),
        };
        let ms = |ns: u64| i64::try_from(ns / 1_000_000).unwrap() - 5_000 + 1;
        let line = |span: &Span| {
            let (start, end) = (ms(span.start_time_unix_nano), ms(span.end_time_unix_nano));
            format!("{} of {}: {start} to {end}", span.name, name_of(&span.parent_span_id))
        };
        spans.iter().map(line).collect()
    }

    #[test]
    fn a_write_has_a_span_for_each_step() {
        let expected = [
            "SET of client: 0 to 10",
            "queue of SET: 0 to 1",
            "execute of SET: 1 to 2",
            "batch of SET: 2 to 3",
            "commit of SET: 3 to 9",
            "log append of commit: 3 to 6",
            "replicate of commit: 3 to 8",
            "replicate of commit: 3 to 12",
            "reply of SET: 9 to 10",
        ];
        assert_eq!(shown(&record()), expected);
    }

    #[test]
    fn a_reply_before_the_commit_did_not_wait_for_it() {
        let early = TraceRecord { parent: 0, replied: Some(BootNs(1_002_500_000)), ..record() };
        let lines = shown(&early);
        assert_eq!((lines[0].as_str(), lines[8].as_str()), ("SET of none: 0 to 9", "reply of SET: 2 to 2"));
    }

    #[test]
    fn what_is_missing_has_no_span_and_is_no_success() {
        let status = |record: &TraceRecord| of(record, &mut || 1)[0].status.clone().unwrap().code;
        assert_eq!(status(&record()), StatusCode::Unset as i32);
        let undone = TraceRecord { committed: None, replied: None, ..record() };
        assert_eq!(shown(&undone).len(), 4);
        assert_eq!(status(&undone), StatusCode::Error as i32);
        let waiting = TraceRecord { executed: None, outcome: TraceOutcome::NotRun, ..undone };
        assert_eq!(shown(&TraceRecord { proposed: None, ..waiting.clone() }).len(), 2);
        assert_eq!(status(&waiting), StatusCode::Error as i32);
    }

    /// Nothing of the client's data can be in a span: every attribute is listed here.
    #[test]
    fn attributes_are_a_closed_set() {
        let mut keys: Vec<String> =
            of(&record(), &mut || 1).into_iter().flat_map(|span| span.attributes).map(|one| one.key).collect();
        keys.sort();
        keys.dedup();
        let expected = [
            "db.operation.name",
            "db.system.name",
            "fastness.family",
            "fastness.log.index",
            "fastness.outcome",
            "fastness.peer",
            "fastness.reply.bytes",
            "fastness.request.bytes",
            "fastness.shard",
            "fastness.slot",
        ];
        assert_eq!(keys, expected);
    }
}
