//! Positions, distances and found members in replies.

use super::distance::text;
use super::find::FoundMember;
use super::geohash::Position;
use fastness_resp::ReplyBuf;

/// What is returned beside members.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct With {
    /// WITHDIST
    pub(super) distance: bool,
    /// WITHHASH
    pub(super) hash: bool,
    /// WITHCOORD
    pub(super) position: bool,
}

/// Replies with a distance in a unit.
pub(super) fn reply_distance(distance: f64, reply: &mut ReplyBuf) {
    reply.bulk(text(distance));
}

/// Replies with a longitude and a latitude.
pub(super) fn reply_position(position: Position, reply: &mut ReplyBuf) {
    reply.array(2);
    reply_coordinate(position.longitude, reply);
    reply_coordinate(position.latitude, reply);
}

/// Replies with a coordinate as Valkey writes it: 17 digits after the point, without the last zeros.
fn reply_coordinate(degrees: f64, reply: &mut ReplyBuf) {
    let text = format!("{degrees:.17}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    reply.double_text(if text == "-0" { "0" } else { text });
}

/// Replies with members and what is asked for beside them.
pub(super) fn reply_found(found: &[FoundMember<'_>], with: With, reply: &mut ReplyBuf) {
    let beside = [with.distance, with.hash, with.position].into_iter().filter(|asked| *asked).count();
    reply.array(found.len());
    for one in found {
        if beside > 0 {
            reply.array(1 + beside);
        }
        reply.bulk(one.name);
        if with.distance {
            reply_distance(one.distance, reply);
        }
        if with.hash {
            reply.integer(one.score as i64);
        }
        if with.position {
            reply_position(one.position, reply);
        }
    }
}
