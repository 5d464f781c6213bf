//! The journal over gRPC.

use fastness_events::{Kind, Value};
use fastness_types::limits::EVENTS_PAGE_MAX;
use fastness_types::{GroupId, WallMs};
use fastness_wire::admin::v1::event_field::Value as WireValue;
use fastness_wire::admin::v1::{EventField, ListEventsRequest, ListEventsResponse, RecordedEvent};
use tonic::Status;

use crate::journal::{EventFilter, Recorded};
use crate::shared::NodeShared;

/// Answers a request for events.
pub(super) fn list(node: &NodeShared, request: ListEventsRequest) -> Result<ListEventsResponse, Status> {
    let kind = |name: &String| {
        let unknown = || Status::invalid_argument(format!("there is no kind of events {name:?}"));
        Kind::named(name).ok_or_else(unknown)
    };
    let wanted = EventFilter {
        after: request.after,
        since: WallMs(request.since_ms),
        kinds: request.kinds.iter().map(kind).collect::<Result<_, _>>()?,
        shard: request.shard.map(GroupId),
        count_max: if request.count_max == 0 { EVENTS_PAGE_MAX } else { request.count_max as usize },
    };
    let page = node.journal.page(&wanted);
    Ok(ListEventsResponse {
        events: page.events.into_iter().map(event_out).collect(),
        next_after: page.next_after,
        more: page.more,
        discarded: page.discarded,
        run_id: node.run_id.clone(),
        node_id: node.node.0,
        az: node.az.to_string(),
    })
}

fn event_out(event: Recorded) -> RecordedEvent {
    let facts = event.kind.facts();
    let field = |(name, value): (&str, Value)| {
        let value = match value {
            Value::Unsigned(number) => WireValue::UnsignedValue(number),
            Value::Signed(number) => WireValue::SignedValue(number),
            Value::Bool(truth) => WireValue::BoolValue(truth),
            Value::Text(text) => WireValue::TextValue(text),
        };
        EventField { name: name.to_owned(), value: Some(value) }
    };
    RecordedEvent {
        number: event.sequence,
        at_ms: event.at.0,
        kind: facts.name.to_owned(),
        level: facts.level.to_string(),
        text: facts.sentence.to_owned(),
        fields: event.fields.into_iter().map(field).collect(),
    }
}
