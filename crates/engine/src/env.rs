//! The environment of a command: time, randomness, and where reply and effects go.

use crate::blocking::{Blocking, KeyWait};
use crate::effect::EffectBuf;
use crate::keyspace::{Key, TypeNumber};
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
    /// Through which a command that finds nothing may wait; `None`: it replies at once.
    pub blocking: Option<&'a mut dyn Blocking>,
}

impl Env<'_> {
    /// See [`Blocking::is_behind`].
    #[must_use]
    pub fn is_behind(&self, key: &Key<'_>, of: TypeNumber) -> bool {
        self.blocking.as_ref().is_some_and(|blocking| blocking.is_behind(key, of))
    }

    /// Ends a command that has found nothing: it waits if it may, and otherwise replies `nothing`.
    pub fn wait_or(&mut self, wait: KeyWait, nothing: impl FnOnce(&mut ReplyBuf)) {
        match &mut self.blocking {
            Some(blocking) => blocking.wait(wait),
            None => nothing(self.reply),
        }
    }
}
