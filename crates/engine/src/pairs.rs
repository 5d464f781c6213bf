//! Pairs in replies, as of fields with values and members with scores: in RESP2 one after the other, in RESP3 each an
//! array.

use fastness_resp::{Protocol, ReplyBuf};

/// Starts a reply of `count` pairs, or of so many names alone.
pub(crate) fn reply_head(count: usize, are_pairs: bool, reply: &mut ReplyBuf) {
    let is_flat = are_pairs && reply.protocol == Protocol::Resp2;
    reply.array(if is_flat { 2 * count } else { count });
}

/// Replies with a name, and with what follows it, if that is requested.
pub(crate) fn reply_pair(name: &[u8], second: Option<impl FnOnce(&mut ReplyBuf)>, reply: &mut ReplyBuf) {
    if second.is_some() && reply.protocol == Protocol::Resp3 {
        reply.array(2);
    }
    reply.bulk(name);
    if let Some(second) = second {
        second(reply);
    }
}
