//! What a frame is drawn from, and what its drawings share.

use crate::watch::history::ShardHistory;
use crate::watch::overview::{EventLine, Overview};
use crate::watch::text::or_none;

/// What is drawn.
pub(super) struct Scene<'a> {
    pub(super) overview: &'a Overview,
    pub(super) history: &'a ShardHistory,
    /// Why nothing is known, if nothing is.
    pub(super) problem: Option<&'a str>,
}

/// How something is: a word for everybody, a colour for those who see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Warning,
    Bad,
    Plain,
}

impl Mood {
    pub(super) fn class(self) -> &'static str {
        match self {
            Mood::Good => "good",
            Mood::Warning => "warning",
            Mood::Bad => "bad",
            Mood::Plain => "plain",
        }
    }
}

/// What is told of an event's shard.
pub(super) fn event_shard(event: &EventLine) -> String {
    match event.shard {
        Some(0) => "control".to_owned(),
        shard => or_none(shard, |shard| shard.to_string()),
    }
}

/// The mood of an event's level.
pub(super) fn event_mood(event: &EventLine) -> Mood {
    match event.level.as_str() {
        "ERROR" => Mood::Bad,
        "WARN" => Mood::Warning,
        _ => Mood::Plain,
    }
}
