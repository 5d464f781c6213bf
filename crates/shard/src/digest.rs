//! The digest of a replica's data, computed beside the commands.
//!
//! To read every key in one step would stop everybody for seconds. So the digest is taken of an **image**
//! (`engine/src/image.rs`), which is of one point in the log however long its writing takes; what it writes is thrown
//! away, and its sum is kept.
//!
//! - A slice per turn, as of a snapshot; one image at a time, so a digest waits for a snapshot in progress and a
//!   snapshot for a digest.
//! - At most one digest is computed at a time. Whoever asks meanwhile gets the same one: it says to which index it
//!   belongs.
//! - When everybody who asked has gone away, the rest is not computed.

use std::time::Duration;

use fastness_engine::Digest;
use fastness_types::LogIndex;
use tokio::sync::oneshot;

use crate::shard::DigestError;
use crate::snapshot::{SLICE_BYTES, SLICE_PAUSE};
use crate::state::{Phase, State};

/// While a snapshot is written, a digest looks so often whether it is its turn.
const TURN_LOOK: Duration = Duration::from_millis(10);

/// What a digest comes to.
pub type DigestResult = Result<(LogIndex, Digest), DigestError>;

/// Who waits for a digest, and the one that is being computed.
#[derive(Default)]
pub(crate) struct Digests {
    waiting: Vec<oneshot::Sender<DigestResult>>,
    /// Of the data at this index.
    walk: Option<LogIndex>,
    chunk: Vec<u8>,
}

impl Digests {
    pub(crate) fn durability_override(&mut self, answer: oneshot::Sender<DigestResult>) {
        self.waiting.push(answer);
    }

    /// Whether the engine's image is this one's.
    pub(crate) fn is_walking(&self) -> bool {
        self.walk.is_some()
    }

    /// The image is gone: memory went back to an earlier point.
    pub(crate) fn image_is_gone(&mut self) {
        if self.walk.take().is_some() {
            self.answer(Err(DigestError::Open));
        }
    }

    fn answer(&mut self, result: DigestResult) {
        self.chunk = Vec::new();
        for waiting in self.waiting.drain(..) {
            // It may have gone away.
            let _ = waiting.send(result);
        }
    }
}

impl State {
    /// Computes a slice of a digest, if somebody waits for one; gives when to go on.
    pub(crate) fn follow_digest(&mut self) -> Option<Duration> {
        self.digests.waiting.retain(|waiting| !waiting.is_closed());
        if self.digests.waiting.is_empty() {
            if self.digests.walk.take().is_some() {
                self.engine.drop_image();
                self.digests.chunk = Vec::new();
                // A snapshot may have waited for its turn.
                return Some(SLICE_PAUSE);
            }
            return None;
        }
        if self.phase != Phase::Serving {
            self.digests.walk = None;
            self.digests.answer(Err(DigestError::NotServing));
            return None;
        }
        let index = match self.digests.walk {
            Some(index) => index,
            None if self.snapshots.is_cut() => return Some(TURN_LOOK),
            None if !self.is_clean() => {
                self.digests.answer(Err(DigestError::Open));
                return None;
            }
            None => {
                // Nobody reads it: it may be in parts whatever the other members understand.
                self.engine.begin_image(SLICE_BYTES);
                self.applied
            }
        };
        self.digests.walk = Some(index);
        let mut chunk = std::mem::take(&mut self.digests.chunk);
        chunk.clear();
        let sum = self.engine.image_step(SLICE_BYTES, &mut chunk);
        self.digests.chunk = chunk;
        let result = match sum {
            Ok(None) => return Some(SLICE_PAUSE),
            Ok(Some(sum)) => Ok((index, sum.digest)),
            Err(_) => Err(DigestError::Open),
        };
        self.digests.walk = None;
        self.digests.answer(result);
        // The same.
        Some(SLICE_PAUSE)
    }
}
