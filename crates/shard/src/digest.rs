//! The digest of a replica's data, computed beside the commands.
//!
//! To read every key in one step would stop everybody for seconds. So the digest is taken of an **image**
//! (`engine/src/image.rs`), which is of one point in the log however long its writing takes. What it writes is
//! discarded, and its sum is kept.
//!
//! - A slice per turn, as for a snapshot; one image at a time, so a digest waits for a snapshot in progress and a
//!   snapshot for a digest.
//! - At most one digest is computed at a time. Requests that come meanwhile get the same one: it names its index.
//! - When nobody waits for it any more, the rest is not computed.

use std::time::Duration;

use fastness_engine::{Digest, Engine};
use fastness_types::LogIndex;
use tokio::sync::oneshot;

use crate::snapshots::{SLICE_BYTES, SLICE_PAUSE};

/// While a snapshot is written, a digest checks this often whether it is its turn.
const TURN_CHECK: Duration = Duration::from_millis(10);

/// Why there is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Memory holds effects that have not committed.
    #[error("effects are staged that have not committed")]
    Open,
    /// Memory is being restored, or the replica has stopped.
    #[error("the replica is not serving")]
    NotServing,
}

/// What a digest comes to.
pub type DigestResult = Result<(LogIndex, Digest), DigestError>;

/// Who waits for a digest, and the one that is being computed.
#[derive(Default)]
pub(crate) struct Digests {
    waiting: Vec<oneshot::Sender<DigestResult>>,
    /// The log position of the digest that is being computed.
    walk: Option<LogIndex>,
    chunk: Vec<u8>,
}

impl Digests {
    /// The answer is sent once there is one.
    pub(crate) fn request(&mut self, answer: oneshot::Sender<DigestResult>) {
        self.waiting.push(answer);
    }

    /// Whether the engine's image is this one's.
    pub(crate) fn is_walking(&self) -> bool {
        self.walk.is_some()
    }

    /// The image is dropped: memory went back to an earlier point.
    pub(crate) fn drop_image(&mut self) {
        if self.walk.take().is_some() {
            self.answer(Err(DigestError::Open));
        }
    }

    /// Computes a slice of a digest, if somebody waits for one; returns when to continue. `at` is the position that
    /// memory is at, if a digest can be taken there.
    pub(crate) fn follow(
        &mut self,
        engine: &mut Engine,
        at: Result<LogIndex, DigestError>,
        is_snapshot_in_progress: bool,
    ) -> Option<Duration> {
        self.waiting.retain(|waiting| !waiting.is_closed());
        if self.waiting.is_empty() {
            if self.walk.take().is_some() {
                engine.drop_image();
                self.chunk = Vec::new();
                // A snapshot may have waited for its turn.
                return Some(SLICE_PAUSE);
            }
            return None;
        }
        let index = match (self.walk, at) {
            (_, Err(DigestError::NotServing)) => {
                self.walk = None;
                self.answer(Err(DigestError::NotServing));
                return None;
            }
            (Some(index), _) => index,
            (None, _) if is_snapshot_in_progress => return Some(TURN_CHECK),
            (None, Err(error)) => {
                self.answer(Err(error));
                return None;
            }
            (None, Ok(index)) => {
                // Nobody reads it: it may be in parts whatever the other members understand.
                engine.begin_image(SLICE_BYTES);
                index
            }
        };
        self.walk = Some(index);
        self.chunk.clear();
        let result = match engine.image_step(SLICE_BYTES, &mut self.chunk) {
            Ok(None) => return Some(SLICE_PAUSE),
            Ok(Some(sum)) => Ok((index, sum.digest)),
            Err(_) => Err(DigestError::Open),
        };
        self.walk = None;
        self.answer(result);
        // A snapshot may have waited for its turn.
        Some(SLICE_PAUSE)
    }

    fn answer(&mut self, result: DigestResult) {
        self.chunk = Vec::new();
        for waiting in self.waiting.drain(..) {
            // It may have disconnected.
            let _ = waiting.send(result);
        }
    }
}
