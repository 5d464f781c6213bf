//! Rebuilding the data from an image of itself, for tests: DEBUG RELOAD.

use super::{Engine, EngineOptions};
use crate::image::{ImageError, ImageLost};
use crate::keyspace::Keyspace;

/// Bytes of the image that are written and loaded at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// The longest record: longer values are written in parts, as in the images of snapshots.
const RECORD_BYTES_MAX: usize = 32 * 1024;

/// Why the data was not rebuilt; it is unchanged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RebuildError {
    /// An image is in progress, or there are uncommitted changes, whose undo records belong to the present data. Later
    /// it may succeed.
    #[error("an image is in progress, or changes have not committed")]
    Busy,
    /// The image could not be written.
    #[error("the image could not be written")]
    Lost,
    /// The image could not be loaded.
    #[error("the image could not be loaded: {0}")]
    Unusable(ImageError),
    /// What was loaded is not the same.
    #[error("the data loaded from the image has another digest")]
    Differs,
}

impl From<ImageLost> for RebuildError {
    fn from(_: ImageLost) -> RebuildError {
        RebuildError::Lost
    }
}

impl From<ImageError> for RebuildError {
    fn from(error: ImageError) -> RebuildError {
        RebuildError::Unusable(error)
    }
}

impl Engine {
    /// Writes an image of all data, loads it into a second keyspace, and replaces the data by that if both have the
    /// same digest. The access time of all keys becomes the newest timestamp. Takes as long as a restart does and the
    /// memory of the data once more; the old data is freed by [`Engine::release_some`].
    ///
    /// # Errors
    /// [`RebuildError`]; the data is unchanged.
    pub fn rebuild(&mut self) -> Result<(), RebuildError> {
        if self.has_image() || self.keyspace.has_undo_records() {
            return Err(RebuildError::Busy);
        }
        let mut loaded = Engine::new(EngineOptions { seed: self.keyspace.seed(), maxmemory: 0 });
        loaded.set_packed_limits(self.keyspace.packed_limits());
        loaded.keyspace.set_access_mode(self.keyspace.access_clock().mode());
        let timestamp = self.newest_timestamp();
        self.begin_image(RECORD_BYTES_MAX);
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let sum = loop {
            chunk.clear();
            let sum = self.image_step(CHUNK_BYTES, &mut chunk)?;
            if let Err(error) = loaded.load_image(timestamp, &chunk) {
                self.drop_image();
                return Err(error.into());
            }
            if let Some(sum) = sum {
                break sum;
            }
        };
        loaded.end_image_load()?;
        if loaded.digest() != sum.digest || self.digest() != sum.digest {
            return Err(RebuildError::Differs);
        }
        let keyspace = std::mem::replace(&mut loaded.keyspace, Keyspace::new(self.keyspace.seed()));
        self.keyspace.exchange(keyspace);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;
    use fastness_types::Seq;

    fn filled() -> Bench {
        let mut bench = Bench::new();
        let long = "v".repeat(100_000);
        bench.run(&[b"SET", b"text", b"v"]);
        bench.run(&[b"SET", b"long", long.as_bytes()]);
        bench.run(&[b"SET", b"number", b"12", b"PX", b"100000"]);
        bench.run(&[b"HSET", b"hash", b"f", b"v"]);
        bench.run(&[b"RPUSH", b"list", b"a", b"b", b"a"]);
        bench.run(&[b"ZADD", b"zset", b"1", b"a", b"2", b"b"]);
        bench.run(&[b"XADD", b"stream", b"1-1", b"f", b"v"]);
        for member in 0..2_000 {
            bench.run(&[b"SADD", b"set", format!("m{member}").as_bytes()]);
        }
        bench
    }

    #[test]
    fn the_data_is_the_same_afterwards_and_the_old_data_is_freed() {
        let mut bench = filled();
        let (digest, stats) = (bench.engine.digest(), bench.engine.keyspace_stats());
        while bench.engine.release_some() {}
        let bytes = bench.engine.memory_of_data();
        assert_eq!(bench.engine.rebuild(), Ok(()));
        assert_eq!((bench.engine.digest(), bench.engine.keyspace_stats()), (digest, stats));
        while bench.engine.release_some() {}
        let after = bench.engine.memory_of_data();
        assert!(after <= bytes + bytes / 4, "{bytes} bytes before, {after} after");
        assert_eq!(bench.run(&[b"LRANGE", b"list", b"0", b"-1"]), b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\na\r\n");
        assert_eq!(bench.run(&[b"PTTL", b"number"]), b":100000\r\n");
        assert_eq!(bench.run(&[b"SCARD", b"set"]), b":2000\r\n");
    }

    #[test]
    fn not_while_an_image_is_in_progress_or_changes_are_uncommitted() {
        let mut bench = filled();
        bench.engine.begin_image(usize::MAX);
        assert_eq!(bench.engine.rebuild(), Err(RebuildError::Busy));
        bench.engine.drop_image();
        bench.engine.keep_undo(1 << 20);
        let committed = bench.engine.digest();
        bench.run(&[b"SET", b"text", b"w"]);
        bench.engine.end_unit(Seq(1));
        assert_eq!(bench.engine.rebuild(), Err(RebuildError::Busy));
        bench.engine.forget_undo(Seq(1));
        assert_eq!(bench.engine.rebuild(), Ok(()));
        // What follows can be undone as before.
        let second = bench.engine.digest();
        bench.run(&[b"SET", b"text", b"x"]);
        bench.engine.end_unit(Seq(2));
        assert!(bench.engine.undo());
        assert_eq!(bench.engine.digest(), second);
        assert_ne!(second, committed);
    }
}
