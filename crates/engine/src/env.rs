//! What a command is given besides data and arguments.

use crate::effect::EffectBuf;
use crate::keyspace::Key;
use crate::random::Random;
use fastness_resp::ReplyBuf;
use fastness_types::WallMs;

/// See the module.
pub struct Env<'a> {
    /// The primary: the batch's timestamp. A replica: the newest applied timestamp.
    pub now: WallMs,
    /// False on replicas: nothing is written, expired keys are hidden and not deleted.
    pub may_write: bool,
    /// Where random choices come from.
    pub random: &'a mut dyn Random,
    /// Where the reply goes.
    pub reply: &'a mut ReplyBuf,
    /// Where effects go; its length is unchanged if nothing was written.
    pub effects: &'a mut EffectBuf,
    /// The first argument after the name with its slot and hash, if the caller has computed them already.
    pub first: Option<Key<'a>>,
}
