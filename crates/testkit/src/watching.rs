//! Watches of the SDK that run through faults, and what every one of them must keep: the events of a shard come in the
//! order of their positions, each once.
//!
//! What the events say is checked by an implementation of [`ShownChanges`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastness_client::{ClientError, Watch, WatchEvent, WatchPosition, WatchPositions, WatchStream};
use parking_lot::Mutex;

/// What a watch has shown.
pub trait ShownChanges: Send + 'static {
    /// Adds the next event.
    ///
    /// # Errors
    /// What is wrong with it.
    fn add(&mut self, event: WatchEvent) -> Result<()>;

    /// Changes of a shard are missed, and the watch has said so: it continues with those that happen from now on.
    ///
    /// # Errors
    /// Nothing may be missed.
    fn start_anew(&mut self) -> Result<()> {
        bail!("changes are missed")
    }
}

/// What a watch has shown so far, and where it is.
pub struct Followed<S> {
    /// What its events say.
    pub shown: S,
    /// Number of events.
    pub events: usize,
    latest: BTreeMap<u32, WatchPosition>,
}

impl<S: ShownChanges> Followed<S> {
    /// Nothing so far.
    pub fn new(shown: S) -> Followed<S> {
        Followed { shown, events: 0, latest: BTreeMap::new() }
    }

    fn add(&mut self, event: WatchEvent) -> Result<()> {
        let latest = self.latest.entry(event.shard).or_default();
        ensure!(event.position > *latest, "an event is doubled or late: {event:?} after {latest:?}");
        *latest = event.position;
        self.events += 1;
        self.shown.add(event)
    }

    /// Adds what a stream has returned. Returns the shard whose changes were purged before they were shown, if the
    /// stream has reported that.
    fn take(&mut self, next: Option<Result<WatchEvent, ClientError>>) -> Result<Option<u32>> {
        match next.context("the stream has ended")? {
            Ok(event) => self.add(event).map(|()| None),
            Err(ClientError::PositionPurged { shard, .. }) => self.shown.start_anew().map(|()| Some(shard)),
            Err(error) => Err(error.into()),
        }
    }
}

/// What several tasks see of a watch.
pub type SharedFollowed<S> = Arc<Mutex<Followed<S>>>;

/// Follows a stream of `watch` until it is aborted, or something is wrong.
///
/// # Errors
/// What is wrong: a [`ClientError`] if the watch has failed, anything else if it has shown something wrong.
pub async fn follow<S: ShownChanges>(watch: Watch, mut stream: WatchStream, followed: SharedFollowed<S>) -> Result<()> {
    loop {
        let next = stream.next().await;
        let purged = followed.lock().take(next)?;
        if let Some(shard) = purged {
            let positions = without(stream.positions(), shard);
            stream = resume(&watch, positions, &followed).await?;
        }
    }
}

/// Follows a watch that ends again and again, and continues from the text that it has kept.
///
/// # Errors
/// As [`follow`].
pub async fn follow_with_restarts<S: ShownChanges>(
    watch: Watch,
    mut stream: WatchStream,
    followed: SharedFollowed<S>,
) -> Result<()> {
    let mut restarts = 0_u64;
    loop {
        let taken_until = Instant::now() + Duration::from_millis(200 + restarts * 37 % 400);
        let mut purged = None;
        while let Ok(next) = tokio::time::timeout_at(taken_until.into(), stream.next()).await {
            purged = followed.lock().take(next)?;
            if purged.is_some() {
                break;
            }
        }
        let text = stream.positions().to_string();
        drop(stream);
        let positions = text.parse::<WatchPositions>()?;
        let positions = purged.map_or(positions.clone(), |shard| without(&positions, shard));
        stream = resume(&watch, positions, &followed).await?;
        restarts += 1;
    }
}

/// Positions of all shards but one.
fn without(positions: &WatchPositions, shard: u32) -> WatchPositions {
    let mut others = WatchPositions::default();
    positions.iter().filter(|(other, _)| *other != shard).for_each(|(other, position)| others.set(other, position));
    others
}

/// Continues after these positions; from now on in shards that are not among them, or that have purged them.
async fn resume<S: ShownChanges>(
    watch: &Watch,
    mut positions: WatchPositions,
    followed: &SharedFollowed<S>,
) -> Result<WatchStream> {
    loop {
        match watch.clone().after(positions.clone()).start().await {
            Ok(stream) => return Ok(stream),
            Err(ClientError::PositionPurged { shard, .. }) => {
                followed.lock().shown.start_anew()?;
                positions = without(&positions, shard);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use fastness_client::{ChangeCause, WatchChange};

    use super::*;

    struct Nothing;

    impl ShownChanges for Nothing {
        fn add(&mut self, _: WatchEvent) -> Result<()> {
            Ok(())
        }
    }

    fn event(shard: u32, index: u64, unit: u32) -> WatchEvent {
        WatchEvent {
            shard,
            position: WatchPosition { index, unit },
            time: SystemTime::UNIX_EPOCH,
            cause: ChangeCause::Command,
            changes: vec![WatchChange::Flush],
            values: Vec::new(),
        }
    }

    #[test]
    fn each_position_is_shown_once_and_in_order() {
        let mut followed = Followed::new(Nothing);
        for (shard, index, unit) in [(1, 5, 1), (1, 5, 2), (2, 3, 1), (1, 6, 1)] {
            followed.add(event(shard, index, unit)).unwrap();
        }
        for (shard, index, unit) in [(1, 6, 1), (1, 5, 2), (2, 3, 1)] {
            assert!(followed.add(event(shard, index, unit)).is_err(), "{shard} {index}.{unit}");
        }
        assert_eq!(followed.events, 4);
    }

    #[test]
    fn the_end_of_a_stream_and_a_purge_that_may_not_be_are_errors() {
        let mut followed = Followed::new(Nothing);
        assert!(followed.take(None).is_err());
        let purged = ClientError::PositionPurged { shard: 1, message: String::new() };
        assert!(followed.take(Some(Err(purged))).is_err());
    }

    #[test]
    fn a_purged_shard_starts_now_and_the_others_continue() {
        let positions: WatchPositions = "1:7.1 2:3.2".parse().unwrap();
        assert_eq!(without(&positions, 1).to_string(), "2:3.2");
    }
}
