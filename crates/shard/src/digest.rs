//! The digest of a replica's data, computed in slices between commands.
//!
//! Reading every key in one step would block all clients for seconds. So the digest is computed from an **image**
//! (`engine/src/image/`), which shows the data at one point in the log however long it takes to write. The written
//! bytes are discarded; only their checksum is kept.
//!
//! - The digest of the idempotency records, which is known at any time, is added to that of the data.
//! - One slice is computed per turn, as for a snapshot. Only one image exists at a time, so a digest waits for a
//!   snapshot in progress, and vice versa.
//! - At most one digest is computed at a time. Requests that arrive meanwhile share its result, which names its index.
//! - If all requests are dropped, the computation is cancelled.

use std::time::Duration;

use fastness_engine::{Digest, Engine};
use fastness_types::LogIndex;
use tokio::sync::oneshot;

use crate::idempotency::records::Records;
use crate::snapshots::{SLICE_BYTES, SLICE_PAUSE};

/// How often a digest checks whether the snapshot in progress has ended.
const TURN_CHECK: Duration = Duration::from_millis(10);

/// Why a digest cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Memory holds effects that have not committed.
    #[error("effects are staged that have not committed")]
    Open,
    /// Memory is being restored, or the replica has stopped.
    #[error("the replica is not serving")]
    NotServing,
}

/// The result of a request for a digest.
pub type DigestResult = Result<(LogIndex, Digest), DigestError>;

/// The pending requests for a digest, and the digest that is being computed.
#[derive(Default)]
pub(crate) struct Digests {
    waiting: Vec<oneshot::Sender<DigestResult>>,
    /// The log position of the digest that is being computed, and the digest of the idempotency records there.
    walk: Option<(LogIndex, u128)>,
    chunk: Vec<u8>,
}

impl Digests {
    /// Adds a request; `answer` is sent when the digest is ready.
    pub(crate) fn request(&mut self, answer: oneshot::Sender<DigestResult>) {
        self.waiting.push(answer);
    }

    /// Whether the engine's image belongs to a digest.
    pub(crate) fn is_walking(&self) -> bool {
        self.walk.is_some()
    }

    /// Discards the image, because memory has returned to an earlier position.
    pub(crate) fn drop_image(&mut self) {
        if self.walk.take().is_some() {
            self.answer(Err(DigestError::Open));
        }
    }

    /// Computes a slice of a digest, if one is requested; returns when to continue. `at`: the position of memory, if a
    /// digest can be computed there.
    pub(crate) fn follow(
        &mut self,
        (engine, records): (&mut Engine, &Records),
        at: Result<LogIndex, DigestError>,
        is_snapshot_in_progress: bool,
    ) -> Option<Duration> {
        self.waiting.retain(|waiting| !waiting.is_closed());
        if self.waiting.is_empty() {
            if self.walk.take().is_some() {
                engine.drop_image();
                self.chunk = Vec::new();
                // A snapshot may be waiting for the image.
                return Some(SLICE_PAUSE);
            }
            return None;
        }
        let (index, of_records) = match (self.walk, at) {
            (_, Err(DigestError::NotServing)) => {
                self.walk = None;
                self.answer(Err(DigestError::NotServing));
                return None;
            }
            (Some(walk), _) => walk,
            (None, _) if is_snapshot_in_progress => return Some(TURN_CHECK),
            (None, Err(error)) => {
                self.answer(Err(error));
                return None;
            }
            (None, Ok(index)) => {
                // No other node reads this image, so it may use parts even if other members cannot read them.
                engine.begin_image(SLICE_BYTES);
                (index, records.digest())
            }
        };
        self.walk = Some((index, of_records));
        self.chunk.clear();
        let result = match engine.image_step(SLICE_BYTES, &mut self.chunk) {
            Ok(None) => return Some(SLICE_PAUSE),
            Ok(Some(sum)) => Ok((index, Digest(sum.digest.0.wrapping_add(of_records)))),
            Err(_) => Err(DigestError::Open),
        };
        self.walk = None;
        self.answer(result);
        // A snapshot may be waiting for the image.
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
