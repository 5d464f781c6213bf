//! Commands of a pipeline, parsed and looked up ahead of the one that runs.

use fastness_engine::Key;
use fastness_engine::command::CommandSpec;
use fastness_resp::{ArgSpans, Limits, Parsed, ProtocolError};
use fastness_shard::Shard;

/// Commands parsed ahead.
pub(crate) const AHEAD_MAX: usize = 16;
/// A longer key is not prefetched, bytes.
const PREFETCH_KEY_BYTES_MAX: usize = 256;

/// Commands that were parsed: the `i`th is `starts[i]..starts[i + 1]` in the buffer.
pub(crate) struct Pipeline<'a> {
    pub(crate) count: usize,
    pub(crate) starts: [usize; AHEAD_MAX + 1],
    pub(crate) stop: Stop,
    /// The rows of the table; `None`: the request is refused, and a second look-up words the refusal.
    pub(crate) specs: [Option<&'static CommandSpec>; AHEAD_MAX],
    /// First keys at fixed places, prefetched.
    pub(crate) keys: [Option<Key<'a>>; AHEAD_MAX],
}

/// Why no more were parsed.
pub(crate) enum Stop {
    /// There were enough, or the buffer is empty.
    Full,
    /// The next one is incomplete.
    Incomplete {
        /// See [`Parsed::Incomplete`].
        needed: usize,
    },
    /// What follows is no command.
    Error(ProtocolError),
}

impl<'a> Pipeline<'a> {
    /// Parses the commands at the start of `bytes`, up to [`AHEAD_MAX`]; their places go into `spans`.
    pub(crate) fn parse(bytes: &'a [u8], spans: &mut [ArgSpans], limits: &Limits) -> Pipeline<'a> {
        let mut pipeline = Pipeline {
            count: 0,
            starts: [0; AHEAD_MAX + 1],
            stop: Stop::Full,
            specs: [None; AHEAD_MAX],
            keys: [None; AHEAD_MAX],
        };
        while pipeline.count < AHEAD_MAX && pipeline.starts[pipeline.count] < bytes.len() {
            let start = pipeline.starts[pipeline.count];
            match fastness_resp::request::parse(&bytes[start..], &mut spans[pipeline.count], limits) {
                Ok(Parsed::Complete { consumed }) => {
                    pipeline.count += 1;
                    pipeline.starts[pipeline.count] = start + consumed;
                }
                Ok(Parsed::Incomplete { needed }) => {
                    pipeline.stop = Stop::Incomplete { needed };
                    break;
                }
                Err(error) => {
                    pipeline.stop = Stop::Error(error);
                    break;
                }
            }
        }
        pipeline
    }

    /// Looks each command up, once, and requests the memory of the keys whose places its specification fixes, so that
    /// the waits for memory overlap.
    pub(crate) fn look_up(&mut self, bytes: &'a [u8], spans: &[ArgSpans], shard: &Shard) {
        let table = shard.commands();
        shard.with_engine(|engine| {
            for (i, spans) in spans.iter().enumerate().take(self.count) {
                let bytes = &bytes[self.starts[i]..self.starts[i + 1]];
                let Ok(spec) = table.look_up(spans.args(bytes)) else { continue };
                self.specs[i] = Some(spec);
                let key = spec.first_key_at().and_then(|at| spans.arg_in(bytes, at));
                self.keys[i] = key.filter(|key| key.len() <= PREFETCH_KEY_BYTES_MAX).map(|key| engine.key(key));
            }
            if self.count > 1 {
                engine.prefetch(self.keys.iter().flatten());
            }
        });
    }
}
