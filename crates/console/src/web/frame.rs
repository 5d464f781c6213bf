//! What all viewers see at one moment.

use super::news::News;
use super::scene::Scene;
use super::{chart, sections, timeline};
use crate::watch::history::ShardHistory;
use crate::watch::overview::Overview;

/// How a part of the page is drawn.
type Draw = fn(&Scene) -> maud::Markup;

/// The parts, in the order of the page: the id of each, and how it is drawn.
const PARTS: &[(&str, Draw)] = &[
    ("state", sections::state),
    ("notices", sections::notices),
    ("summary", sections::summary),
    ("shards", sections::shards),
    ("charts", chart::all),
    ("timeline", timeline::draw),
    ("events", sections::events),
    ("nodes", sections::nodes),
    ("slots", sections::slots),
    ("slow", sections::slow_commands),
];

/// A part of the page that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The id of the element whose content it is.
    pub id: &'static str,
    /// The content.
    pub html: String,
}

/// A cluster at one moment, rendered.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// Its parts, in the order of the page.
    pub parts: Vec<Part>,
    /// The last changes in words, the oldest first.
    pub news: Vec<News>,
    /// Whether every node was polled.
    pub is_complete: bool,
}

impl Frame {
    /// Renders what is known.
    #[must_use]
    pub fn of(overview: &Overview, history: &ShardHistory, problem: Option<&str>, news: Vec<News>) -> Frame {
        let scene = Scene { overview, history, problem };
        let is_complete = problem.is_some() || overview.nodes.iter().all(|node| node.up.is_some());
        let parts = PARTS.iter().map(|&(id, draw)| Part { id, html: draw(&scene).into_string() });
        Frame { parts: parts.collect(), news, is_complete }
    }

    /// The content of a part.
    #[must_use]
    pub fn part(&self, id: &str) -> &str {
        self.parts.iter().find(|part| part.id == id).map_or("", |part| part.html.as_str())
    }
}
