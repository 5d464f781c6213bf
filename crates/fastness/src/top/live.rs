//! The loop of the screen: reports, keys, signals and the interval are waited for together, and nothing else is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use crossterm::event::{Event, EventStream};
use fastness_console::watch::history::ShardHistory;
use fastness_console::watch::overview::Overview;
use fastness_console::watch::pollers::Pollers;
use fastness_console::watch::sample::now_ms;
use fastness_console::watch::watched::ClusterWatch;
use fastness_wire::admin::v1::DescribeClusterResponse;
use futures::StreamExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::admin_calls::AdminCluster;

use super::choice::Choice;
use super::draw::Scene;
use super::screen::Screen;

/// What the screen shows.
struct LiveScreen {
    watched: ClusterWatch,
    history: ShardHistory,
    choice: Choice,
    overview: Overview,
    interval: Duration,
}

impl LiveScreen {
    /// Computes the frame anew, unless it is to stay as it is.
    fn refresh(&mut self) {
        if !self.choice.is_paused {
            self.overview = Overview::of(&self.watched, now_ms());
        }
    }

    fn draw(&self, screen: &mut Screen) -> Result<()> {
        let LiveScreen { overview, history, choice, interval, .. } = self;
        screen.draw(&Scene { overview, history, choice, interval: *interval })
    }

    /// Obeys what the terminal reports; false: the end.
    fn obey(&mut self, event: &Event) -> bool {
        let Event::Key(key) = event else { return true };
        let goes_on = self.choice.press(*key, self.overview.shards.len());
        self.refresh();
        goes_on
    }
}

/// Shows the cluster until the user, a signal or an error ends it.
pub async fn run(cluster: Arc<AdminCluster>, map: DescribeClusterResponse, interval: Duration) -> Result<()> {
    let mut signals = Signals::catch()?;
    let mut screen = Screen::open()?;
    let mut events = EventStream::new();
    let mut pollers = Pollers::new(cluster, interval);
    pollers.follow(&map.nodes);
    let mut live = LiveScreen {
        watched: ClusterWatch::new(map),
        history: ShardHistory::default(),
        choice: Choice::default(),
        overview: Overview::default(),
        interval,
    };
    let mut due = tokio::time::interval(interval);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            report = pollers.next() => {
                live.watched.take(report?);
                pollers.follow(&live.watched.map().nodes);
                live.refresh();
            }
            event = events.next() => {
                let event = event.context("the terminal is gone")?.context("the terminal cannot be read")?;
                if !live.obey(&event) {
                    return Ok(());
                }
            }
            _ = due.tick() => {
                live.refresh();
                if !live.choice.is_paused {
                    live.history.add(&live.overview);
                }
            }
            () = signals.any() => return Ok(()),
        }
        live.draw(&mut screen)?;
    }
}

/// The signals that end the program.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn catch() -> Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
