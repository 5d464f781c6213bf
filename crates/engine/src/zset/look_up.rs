//! Look-ups shared by the commands of sorted sets, and the form of members in their replies.

use super::members::Member;
use super::view::SortedSet;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::{Entry, Key};
use crate::pairs::{reply_head, reply_pair};
use fastness_resp::ReplyBuf;

pub(super) fn of_entry(entry: &Entry) -> Result<SortedSet<'_>, CommandError> {
    SortedSet::of(entry.value()).ok_or(CommandError::WrongType)
}

/// The sorted set of a key, for a reading command; counts a hit or miss.
pub(crate) fn read<'e>(
    engine: &'e mut Engine,
    key: &Key<'_>,
    env: &mut Env<'_>,
) -> Result<Option<SortedSet<'e>>, CommandError> {
    engine.read(key, env).map(of_entry).transpose()
}

/// The sorted set of a key, for a writing command.
pub(super) fn look_up<'e>(
    engine: &'e mut Engine,
    key: &Key<'_>,
    env: &mut Env<'_>,
) -> Result<Option<SortedSet<'e>>, CommandError> {
    engine.look_up(key, env).map(of_entry).transpose()
}

/// Replies with a score, null if there is none.
pub(super) fn reply_score(score: Option<f64>, reply: &mut ReplyBuf) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

/// Replies with members, of which there are `count`: in RESP3 each with its score is an array.
pub(super) fn reply_members<'m>(
    count: usize,
    members: impl Iterator<Item = Member<'m>>,
    with_scores: bool,
    reply: &mut ReplyBuf,
) {
    reply_head(count, with_scores, reply);
    members.for_each(|member| reply_member(member, with_scores, reply));
}

/// Writes a member of a reply.
pub(super) fn reply_member((name, score): Member<'_>, with_scores: bool, reply: &mut ReplyBuf) {
    reply_pair(name, with_scores.then_some(|reply: &mut ReplyBuf| reply.double(score)), reply);
}
