//! Reads the journal of one node: each read continues after the last one.

use fastness_wire::admin::v1::event_field::Value;
use fastness_wire::admin::v1::{ListEventsRequest, RecordedEvent};

use super::calls::{CallFailed, NodeCalls};

/// An event, and where it was recorded.
#[derive(Debug, Clone)]
pub struct NodeEvent {
    /// The node.
    pub node: u64,
    /// The node's AZ.
    pub az: String,
    /// The event.
    pub event: RecordedEvent,
}

/// A position in the journal of one node.
#[derive(Debug, Default)]
pub struct JournalCursor {
    /// The process of the node whose journal is read.
    run_id: String,
    after: u64,
    discarded: u64,
}

impl JournalCursor {
    /// Appends what is new to `events`, page by page. After an error, the next read continues where this one ended.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn read(
        &mut self,
        node: &dyn NodeCalls,
        request: &ListEventsRequest,
        events: &mut Vec<NodeEvent>,
    ) -> Result<(), CallFailed> {
        loop {
            let request = ListEventsRequest { after: self.after, ..request.clone() };
            let page = node.list_events(request).await?;
            if page.run_id != self.run_id {
                let restarted = !self.run_id.is_empty();
                self.run_id = page.run_id;
                // The numbers of another process start again.
                if restarted && self.after > 0 {
                    (self.after, self.discarded) = (0, 0);
                    continue;
                }
            }
            let (node, az) = (page.node_id, page.az);
            events.extend(page.events.into_iter().map(|event| NodeEvent { node, az: az.clone(), event }));
            self.after = page.next_after;
            self.discarded = page.discarded;
            if !page.more {
                return Ok(());
            }
        }
    }

    /// How many events the node has discarded since its process started, because its journal is full.
    #[must_use]
    pub fn discarded(&self) -> u64 {
        self.discarded
    }
}

/// A field's value in a line of text; a text with spaces is quoted.
#[must_use]
pub fn value_text(value: Option<&Value>) -> String {
    match value {
        Some(Value::UnsignedValue(number)) => number.to_string(),
        Some(Value::SignedValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        Some(Value::TextValue(text)) if text.is_empty() || text.contains([' ', '"', '\n']) => format!("{text:?}"),
        Some(Value::TextValue(text)) => text.clone(),
        None => String::new(),
    }
}
