//! Snapshots of a simulated replica: visible once they are finished, and kept over crashes.

use std::collections::VecDeque;

use fastness_consensus::testing::MemorySnapshots;
use fastness_shard::{SinkError, SnapshotPart, SnapshotSink, SnapshotSource, SnapshotStore, SourceError};
use fastness_types::LogIndex;

/// The shard's view of the snapshots that consensus sends and receives.
pub struct SimSnapshots(pub MemorySnapshots);

impl SnapshotStore for SimSnapshots {
    fn create(&self, head: Vec<u8>) -> Box<dyn SnapshotSink> {
        Box::new(PartsSink { to: self.0.clone(), parts: vec![SnapshotPart::Head(head.into())], older: None })
    }

    fn open_newest(&self, below: Option<LogIndex>) -> Option<(LogIndex, Box<dyn SnapshotSource>)> {
        let index = self.0.list().into_iter().find(|index| below.is_none_or(|below| *index < below))?;
        Some((index, Box::new(PartsSource(self.0.get(index)?.into()))))
    }
}

struct PartsSink {
    to: MemorySnapshots,
    parts: Vec<SnapshotPart>,
    older: Option<LogIndex>,
}

impl SnapshotSink for PartsSink {
    fn has_room(&self) -> bool {
        true
    }

    fn waiting_bytes(&self) -> u64 {
        0
    }

    fn push(&mut self, chunk: Vec<u8>) {
        self.parts.push(SnapshotPart::Chunk(chunk.into()));
    }

    fn failure(&self) -> Option<SinkError> {
        None
    }

    fn finish(&mut self, index: LogIndex, tail: Vec<u8>) {
        self.parts.push(SnapshotPart::Tail(tail.into()));
        self.older = Some(self.to.put(index, std::mem::take(&mut self.parts)));
    }

    fn finished(&self) -> Option<LogIndex> {
        self.older
    }
}

struct PartsSource(VecDeque<SnapshotPart>);

#[async_trait::async_trait(?Send)]
impl SnapshotSource for PartsSource {
    fn bytes(&self) -> Option<u64> {
        Some(self.0.iter().map(|part| part.bytes().len() as u64).sum())
    }

    async fn next(&mut self) -> Result<Option<SnapshotPart>, SourceError> {
        Ok(self.0.pop_front())
    }
}
