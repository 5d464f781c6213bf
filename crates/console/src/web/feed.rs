//! Watches the cluster while somebody looks at the console. One task polls for all viewers, and a frame is rendered
//! once for all of them. Without viewers it stops after `LINGER`, so that a node that nobody looks at calls nobody.

use std::sync::Arc;
use std::time::Duration;

use fastness_wire::admin::v1::DescribeClusterResponse;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, timeout};

use super::frame::Frame;
use super::news::{self, News};
use crate::watch::calls::{CallFailed, ClusterCalls};
use crate::watch::history::ShardHistory;
use crate::watch::overview::Overview;
use crate::watch::pollers::{PollError, Pollers};
use crate::watch::sample::now_ms;
use crate::watch::watched::ClusterWatch;

/// Time between two samples of each node, and between two frames.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long it watches without viewers: the charts of somebody who returns soon have no gap.
const LINGER: Duration = Duration::from_secs(60);
/// Time limit of the cluster's map.
const MAP_TIME_MAX: Duration = Duration::from_secs(4);
/// How long a page waits until every node was polled.
const COMPLETE_PATIENCE: Duration = Duration::from_secs(4);
/// How many news a frame has.
const NEWS_MAX: usize = 8;

/// Frames for whoever looks.
#[derive(Clone)]
pub struct Feed(Arc<Shared>);

struct Shared {
    cluster: Arc<dyn ClusterCalls>,
    frames: watch::Sender<Arc<Frame>>,
    watching: Mutex<Watching>,
    /// The newest map: its nodes are polled although none of them gives a map now.
    map: Mutex<Option<DescribeClusterResponse>>,
}

struct Watching {
    /// The task that watches, by its number.
    task: Option<u64>,
    /// How many tasks there were.
    tasks: u64,
    /// When somebody has looked last.
    wanted: Instant,
}

impl Feed {
    /// Watches nothing yet.
    #[must_use]
    pub fn new(cluster: Arc<dyn ClusterCalls>) -> Feed {
        let watching = Mutex::new(Watching { task: None, tasks: 0, wanted: Instant::now() });
        let (frames, _) = watch::channel(Arc::default());
        Feed(Arc::new(Shared { cluster, frames, watching, map: Mutex::new(None) }))
    }

    /// Frames from now on; the first one is as new as the feed is.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Frame>> {
        let frames = self.0.frames.subscribe();
        let mut watching = self.0.watching.lock();
        watching.wanted = Instant::now();
        if watching.task.is_none() {
            watching.tasks += 1;
            let task = Task { shared: self.0.clone(), number: watching.tasks };
            watching.task = Some(task.number);
            // What an earlier task has published is old.
            self.0.frames.send_replace(Arc::default());
            tokio::spawn(task.watch());
        }
        frames
    }

    /// A frame for a page: with every node, if they are polled in time.
    pub async fn frame(&self) -> Arc<Frame> {
        let mut frames = self.subscribe();
        let complete = frames.wait_for(|frame| !frame.parts.is_empty() && frame.is_complete);
        match timeout(COMPLETE_PATIENCE, complete).await {
            Ok(Ok(frame)) => frame.clone(),
            _ => self.0.frames.borrow().clone(),
        }
    }
}

impl Shared {
    async fn first_map(&self) -> Result<DescribeClusterResponse, CallFailed> {
        let late = |_| CallFailed("no node has answered in time".to_owned());
        let map = timeout(MAP_TIME_MAX, self.cluster.map()).await.map_err(late)??;
        if map.map_version == 0 {
            return Err(CallFailed("the cluster is not created yet".to_owned()));
        }
        Ok(map)
    }
}

/// The task that watches. When it ends, also by a panic, the next viewer starts another one.
struct Task {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Task {
    fn drop(&mut self) {
        let mut watching = self.shared.watching.lock();
        watching.task = watching.task.filter(|task| *task != self.number);
    }
}

impl Task {
    /// Whether to go on. If not, the next viewer starts another task.
    fn is_wanted(&self) -> bool {
        let mut watching = self.shared.watching.lock();
        if self.shared.frames.receiver_count() > 0 {
            watching.wanted = Instant::now();
        }
        let wanted = watching.wanted.elapsed() < LINGER;
        if !wanted {
            watching.task = None;
        }
        wanted
    }

    async fn watch(self) {
        if let Some(map) = self.map().await
            && let Err(error) = self.follow(map).await
        {
            tracing::error!(%error, "the console has stopped watching");
        }
    }

    /// The map, once it is known; `None`: nobody waits for it any more.
    async fn map(&self) -> Option<DescribeClusterResponse> {
        loop {
            let problem = match self.shared.first_map().await {
                Ok(map) => return Some(map),
                Err(CallFailed(problem)) => problem,
            };
            if let Some(known) = self.shared.map.lock().clone() {
                return Some(known);
            }
            let overview = Overview { at_ms: now_ms(), ..Overview::default() };
            let frame = Frame::of(&overview, &ShardHistory::default(), Some(&problem), Vec::new());
            self.shared.frames.send_replace(Arc::new(frame));
            if !self.is_wanted() {
                return None;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Publishes frames as long as somebody looks.
    async fn follow(&self, map: DescribeClusterResponse) -> Result<(), PollError> {
        let mut pollers = Pollers::new(self.shared.cluster.clone(), INTERVAL);
        pollers.follow(&map.nodes);
        let mut watched = ClusterWatch::new(map);
        let mut screen = FrameMaker::default();
        let mut due = tokio::time::interval(INTERVAL);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                report = pollers.next() => {
                    watched.take(report?);
                    pollers.follow(&watched.map().nodes);
                    if screen.is_complete || watched.views().iter().any(|(node, _)| watched.node(*node).is_none()) {
                        continue;
                    }
                    // Every node was polled for the first time: a page may wait for this.
                }
                _ = due.tick() => {
                    *self.shared.map.lock() = Some(watched.map().clone());
                    if !self.is_wanted() {
                        return Ok(());
                    }
                }
            }
            self.shared.frames.send_replace(Arc::new(screen.next(&watched, now_ms())));
        }
    }
}

/// Makes frames, and remembers what the next one needs of those before.
#[derive(Default)]
struct FrameMaker {
    history: ShardHistory,
    before: Overview,
    news: Vec<News>,
    is_complete: bool,
}

impl FrameMaker {
    fn next(&mut self, watched: &ClusterWatch, at_ms: u64) -> Frame {
        let overview = Overview::of(watched, at_ms);
        self.history.add(&overview);
        if let Some(text) = news::between(&self.before, &overview) {
            // Increases, also over several tasks of the feed.
            self.news.push(News { number: at_ms, text });
            let surplus = self.news.len().saturating_sub(NEWS_MAX);
            self.news.drain(..surplus);
        }
        let frame = Frame::of(&overview, &self.history, None, self.news.clone());
        self.before = overview;
        self.is_complete = frame.is_complete;
        frame
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use fastness_wire::admin::v1::{
        ListEventsRequest, ListEventsResponse, NodeSpec, ShowFiguresRequest, ShowFiguresResponse,
    };

    use super::*;
    use crate::watch::calls::NodeCalls;
    use crate::watch::fixture::Fixture;

    /// A cluster of one node, which counts the calls.
    #[derive(Clone)]
    struct Counted {
        map: DescribeClusterResponse,
        calls: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl ClusterCalls for Counted {
        async fn map(&self) -> Result<DescribeClusterResponse, CallFailed> {
            match self.map.map_version {
                0 => Err(CallFailed("no <node> answers".to_owned())),
                _ => Ok(self.map.clone()),
            }
        }

        async fn connect(&self, _: &NodeSpec) -> Result<Box<dyn NodeCalls>, CallFailed> {
            Ok(Box::new(self.clone()))
        }
    }

    #[async_trait]
    impl NodeCalls for Counted {
        async fn describe(&self) -> Result<DescribeClusterResponse, CallFailed> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            Ok(self.map.clone())
        }

        async fn show_figures(&self, _: ShowFiguresRequest) -> Result<ShowFiguresResponse, CallFailed> {
            Err(CallFailed("none".to_owned()))
        }

        async fn list_events(&self, _: ListEventsRequest) -> Result<ListEventsResponse, CallFailed> {
            Err(CallFailed("none".to_owned()))
        }
    }

    fn counted(map_version: u64) -> (Feed, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let map = DescribeClusterResponse { map_version, ..Fixture::new(&["zone-a"], 1).map };
        (Feed::new(Arc::new(Counted { map, calls: calls.clone() })), calls)
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_are_polled_only_while_somebody_looks() {
        let (feed, calls) = counted(3);
        tokio::time::sleep(LINGER).await;
        assert_eq!(calls.load(Ordering::Relaxed), 0, "nobody has looked yet");
        let frame = feed.frame().await;
        assert!(frame.is_complete && frame.part("nodes").contains("zone-a"), "{frame:?}");
        let viewers = [feed.subscribe(), feed.subscribe()];
        tokio::time::sleep(LINGER * 3).await;
        let polled = calls.load(Ordering::Relaxed);
        assert!((150..200).contains(&polled), "{polled}: two viewers cost as one");
        drop(viewers);
        tokio::time::sleep(LINGER * 2).await;
        let polled = calls.load(Ordering::Relaxed);
        tokio::time::sleep(LINGER).await;
        assert_eq!(calls.load(Ordering::Relaxed), polled, "nobody looks");
        assert!(feed.frame().await.is_complete, "it starts again");
        assert!(calls.load(Ordering::Relaxed) > polled);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_does_not_answer_is_said_to() {
        let (feed, _) = counted(0);
        let frame = feed.frame().await;
        assert!(frame.part("notices").contains("no &lt;node&gt; answers"), "{frame:?}");
        tokio::time::sleep(LINGER * 2).await;
        assert!(feed.frame().await.is_complete);
    }
}
