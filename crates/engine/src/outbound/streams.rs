//! Effects of streams as commands.

use super::untranslated::Untranslated;
use super::writer::CommandWriter;
use crate::stream::change::{Delivery, StreamChange, read_deliveries, read_ids};
use crate::stream::{StreamId, node_entries};

/// The counters of a stream that are set once its nodes were added: XADD refuses ids up to the last one.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamCounters<'a> {
    pub(super) key: &'a [u8],
    pub(super) last: StreamId,
    pub(super) added: u64,
    pub(super) max_deleted: StreamId,
    /// Entries of nodes that followed.
    pub(super) entries: u64,
}

impl StreamCounters<'_> {
    /// Writes them. `marker`: a group that no stream has.
    ///
    /// # Errors
    /// They contradict the entries, as only a restored payload that was made by hand can.
    pub(super) fn write(&self, marker: &[u8], out: &mut CommandWriter<'_>) -> Result<(), Untranslated> {
        if self.added < self.entries || self.max_deleted > self.last {
            return Err(Untranslated::Counters);
        }
        if self.entries == 0 {
            // The stream may be a new one without entries, which only XGROUP creates.
            out.command("XGROUP", &[b"CREATE", self.key, marker, b"0", b"MKSTREAM"]);
            out.command("XGROUP", &[b"DESTROY", self.key, marker]);
        }
        let args = out.start("XSETID", 6).arg(self.key).id(self.last);
        args.arg(b"ENTRIESADDED").number(self.added).arg(b"MAXDELETEDID").id(self.max_deleted);
        Ok(())
    }
}

/// Writes a change of the stream at `key`, other than of its counters. Returns how many entries it has added as a node.
///
/// # Errors
/// The effect is of an older version and does not name what the command needs.
pub(super) fn write_stream(
    key: &[u8],
    change: &StreamChange<'_>,
    out: &mut CommandWriter<'_>,
) -> Result<u64, Untranslated> {
    match *change {
        StreamChange::Add { id, fields, .. } => {
            _ = out.start("XADD", 2 + fields.len()).arg(key).id(id).args(fields.iter())
        }
        StreamChange::AddNode { id, live, deleted, bytes } => {
            let entries = node_entries(id, (live, deleted), bytes).unwrap_or_default();
            for (id, fields) in &entries {
                out.start("XADD", 2 + fields.len()).arg(key).id(*id).args(fields.iter().map(Vec::as_slice));
            }
            return Ok(entries.len() as u64);
        }
        StreamChange::Delete { ids } => with_ids("XDEL", &[key], ids, out),
        StreamChange::Trim { last: None, .. } => return Err(Untranslated::Older("XTRIM")),
        StreamChange::Trim { last: Some(last), .. } => match last.next() {
            Some(first) => _ = out.start("XTRIM", 4).arg(key).arg(b"MINID").arg(b"=").id(first),
            None => out.command("XTRIM", &[key, b"MAXLEN", b"=", b"0"]),
        },
        StreamChange::SetCounters { .. } => {}
        StreamChange::CreateGroup { group, last, read } => {
            let args = out.start("XGROUP", 7).arg(b"CREATE").arg(key).arg(group).id(last);
            args.arg(b"MKSTREAM").arg(b"ENTRIESREAD").number(read.max(-1));
        }
        StreamChange::SetGroup { group, last, read } => {
            let args = out.start("XGROUP", 6).arg(b"SETID").arg(key).arg(group).id(last);
            args.arg(b"ENTRIESREAD").number(read.max(-1));
        }
        StreamChange::DestroyGroup { group } => out.command("XGROUP", &[b"DESTROY", key, group]),
        StreamChange::SetConsumer { group, consumer, .. } => {
            out.command("XGROUP", &[b"CREATECONSUMER", key, group, consumer]);
        }
        StreamChange::DeleteConsumer { group, consumer } => {
            out.command("XGROUP", &[b"DELCONSUMER", key, group, consumer]);
        }
        StreamChange::Deliver { group, consumer, deliveries } => {
            let deliveries: Vec<Delivery> = read_deliveries(deliveries).collect();
            let is_same = |a: &Delivery, b: &Delivery| (a.time, a.count) == (b.time, b.count);
            for run in deliveries.chunk_by(is_same) {
                let args = out.start("XCLAIM", 10 + run.len()).arg(key).arg(group).arg(consumer).arg(b"0");
                run.iter().for_each(|one| _ = args.id(one.id));
                args.arg(b"TIME").number(run[0].time).arg(b"RETRYCOUNT").number(run[0].count.min(i64::MAX as u64));
                args.arg(b"FORCE").arg(b"JUSTID");
            }
        }
        StreamChange::Acknowledge { group, ids } => with_ids("XACK", &[key, group], ids, out),
    }
    Ok(0)
}

fn with_ids(command: &str, first: &[&[u8]], ids: &[u8], out: &mut CommandWriter<'_>) {
    let args = out.start(command, first.len() + read_ids(ids).count()).args(first.iter().copied());
    read_ids(ids).for_each(|id| _ = args.id(id));
}
