//! The live page: an event for each part that has changed (server-sent events).
//!
//! A viewer is sent the newest frame when the connection takes something, and never an older one, so a slow viewer
//! costs one frame. The connection ends with its time (`http`); the browser opens another one by itself.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::feed::Feed;
use super::frame::Frame;
use super::page;
use super::verbs::{VerbDesk, VerbRun};

/// How long a browser waits before it opens another stream.
const RETRY: Duration = Duration::from_millis(500);

/// What a viewer was sent, and what follows.
struct Viewer {
    frames: watch::Receiver<Arc<Frame>>,
    runs: Option<watch::Receiver<Vec<VerbRun>>>,
    /// The parts as the viewer has them.
    parts: BTreeMap<&'static str, String>,
    /// The newest news that the viewer has; `None`: it has nothing yet, and what happened before is no news.
    news: Option<u64>,
    pending: VecDeque<Message>,
    _place: OwnedSemaphorePermit,
}

/// An event: its name, and its data as JSON.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    name: &'static str,
    data: String,
}

#[derive(Serialize)]
struct PartMessage<'a> {
    id: &'a str,
    html: &'a str,
}

/// Opens a stream, if there is a place for it.
pub(super) fn open(feed: &Feed, desk: Option<&VerbDesk>, places: &Arc<Semaphore>) -> Response {
    let Ok(place) = places.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are live: close one").into_response();
    };
    let mut frames = feed.subscribe();
    frames.mark_changed();
    let mut runs = desk.map(VerbDesk::runs);
    if let Some(runs) = &mut runs {
        runs.mark_changed();
    }
    let viewer = Viewer { frames, runs, parts: BTreeMap::new(), news: None, pending: VecDeque::new(), _place: place };
    let events = futures::stream::unfold(viewer, |mut viewer| async move {
        let Message { name, data } = viewer.next().await?;
        let event = Event::default().event(name).data(data).retry(RETRY);
        Some((Ok::<_, Infallible>(event), viewer))
    });
    Sse::new(events).into_response()
}

impl Viewer {
    /// The next event; `None`: there will be none.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.pending.pop_front() {
                return Some(message);
            }
            tokio::select! {
                changed = self.frames.changed() => changed.ok()?,
                changed = changed(&mut self.runs) => changed.ok()?,
            }
            let frame = self.frames.borrow_and_update().clone();
            self.take(&frame);
            if let Some(runs) = &mut self.runs {
                let html = page::runs(&runs.borrow_and_update()).into_string();
                self.part("runs", html);
            }
        }
    }

    fn take(&mut self, frame: &Frame) {
        for part in &frame.parts {
            self.part(part.id, part.html.clone());
        }
        let newest = frame.news.last().map(|news| news.number);
        for news in frame.news.iter().filter(|news| self.news.is_some_and(|known| news.number > known)) {
            let data = serde_json::Value::from(news.text.as_str()).to_string();
            self.pending.push_back(Message { name: "news", data });
        }
        self.news = newest.max(self.news).or(Some(0));
    }

    fn part(&mut self, id: &'static str, html: String) {
        if self.parts.get(id) == Some(&html) {
            return;
        }
        if let Ok(data) = serde_json::to_string(&PartMessage { id, html: &html }) {
            self.pending.push_back(Message { name: "part", data });
        }
        self.parts.insert(id, html);
    }
}

/// Resolves when a verb was pressed or has ended; never without a lab.
async fn changed(runs: &mut Option<watch::Receiver<Vec<VerbRun>>>) -> Result<(), watch::error::RecvError> {
    match runs {
        Some(runs) => runs.changed().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Part;
    use super::super::news::News;
    use super::*;

    fn frame(parts: &[(&'static str, &str)], news: &[(u64, &str)]) -> Arc<Frame> {
        let part = |(id, html): &(&'static str, &str)| Part { id, html: (*html).to_owned() };
        let news = news.iter().map(|(number, text)| News { number: *number, text: (*text).to_owned() });
        Arc::new(Frame { parts: parts.iter().map(part).collect(), news: news.collect(), is_complete: true })
    }

    #[tokio::test]
    async fn a_viewer_gets_what_has_changed_once_and_skips_what_it_was_too_slow_for() {
        let (sender, mut frames) = watch::channel(frame(&[("a", "1"), ("b", "\r\n<p>")], &[(5, "old")]));
        frames.mark_changed();
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (parts, pending) = (BTreeMap::new(), VecDeque::new());
        let mut viewer = Viewer { frames, runs: None, parts, news: None, pending, _place: place };
        let mut texts = Vec::new();
        for _ in 0..2 {
            texts.push(viewer.next().await.unwrap());
        }
        let part = |data: &str| Message { name: "part", data: data.to_owned() };
        let (a, b) = (part("{\"id\":\"a\",\"html\":\"1\"}"), part("{\"id\":\"b\",\"html\":\"\\r\\n<p>\"}"));
        assert_eq!(texts, [a, b], "what happened before is no news");
        sender.send_replace(frame(&[("a", "2"), ("b", "\r\n<p>")], &[(5, "old"), (6, "skipped")]));
        sender.send_replace(frame(&[("a", "3"), ("b", "\r\n<p>")], &[(5, "old"), (6, "six"), (7, "seven")]));
        assert_eq!(viewer.next().await.unwrap(), part("{\"id\":\"a\",\"html\":\"3\"}"));
        let news = |data: &str| Message { name: "news", data: data.to_owned() };
        assert_eq!(viewer.next().await.unwrap(), news("\"six\""));
        assert_eq!(viewer.next().await.unwrap(), news("\"seven\""));
        drop(sender);
        assert_eq!(viewer.next().await, None);
    }
}
