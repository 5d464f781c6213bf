//! The environment of a command: time, randomness, and where reply and effects go.

use crate::effect::EffectBuf;
use crate::keyspace::Key;
use crate::random::Random;
use fastness_resp::ReplyBuf;
use fastness_types::WallMs;

/// What a command gets besides data and arguments.
pub struct Env<'a> {
    /// On a primary the batch's timestamp, on a replica the newest applied timestamp.
    pub now: WallMs,
    /// Whether effects may be staged. False on replicas, where expired keys are hidden and not removed.
    pub may_write: bool,
    /// The source of random choices.
    pub random: &'a mut dyn Random,
    /// Where the reply goes.
    pub reply: &'a mut ReplyBuf,
    /// Where effects go; its length does not change if the command writes nothing.
    pub effects: &'a mut EffectBuf,
    /// The first argument after the name as a key, if the caller has computed its slot and hash already.
    pub first: Option<Key<'a>>,
}
