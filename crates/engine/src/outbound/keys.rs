//! Effects of keys, strings, hashes, sets and sorted sets as commands.

use super::dialect::Dialect;
use super::writer::CommandWriter;
use crate::effect::{Items, KeyEffect};
use crate::hash::effect::HashEffect;
use crate::keyspace::ExpiryChange;
use crate::set::effect::SetEffect;
use crate::string::effect::StringEffect;
use crate::zset::effect::{ZsetEffect, scored};

pub(super) fn write_key(effect: &KeyEffect<'_>, out: &mut CommandWriter<'_>) {
    match *effect {
        KeyEffect::Unlink { key } => out.command("UNLINK", &[key.bytes]),
        KeyEffect::ExpireAt { key, at } => _ = out.start("PEXPIREAT", 2).arg(key.bytes).number(at.0),
        KeyEffect::Persist { key } => out.command("PERSIST", &[key.bytes]),
        KeyEffect::FlushAll => out.command("FLUSHALL", &[]),
        KeyEffect::Rename { from, to } => out.command("RENAME", &[from.bytes, to.bytes]),
        KeyEffect::Copy { from, to } => out.command("COPY", &[from.bytes, to.bytes, b"REPLACE"]),
    }
}

pub(super) fn write_string(effect: &StringEffect<'_>, out: &mut CommandWriter<'_>) {
    match *effect {
        StringEffect::Set { key, value, expiry: ExpiryChange::Drop } => out.command("SET", &[key.bytes, value]),
        StringEffect::Set { key, value, expiry: ExpiryChange::Keep } => {
            out.command("SET", &[key.bytes, value, b"KEEPTTL"]);
        }
        StringEffect::Set { key, value, expiry: ExpiryChange::At(at) } => {
            out.start("SET", 4).arg(key.bytes).arg(value).arg(b"PXAT").number(at.0);
        }
        StringEffect::Append { key, bytes } => out.command("APPEND", &[key.bytes, bytes]),
        StringEffect::SetRange { key, offset, bytes } => {
            out.start("SETRANGE", 3).arg(key.bytes).number(offset).arg(bytes);
        }
    }
}

/// Returns whether deadlines of fields were left off.
pub(super) fn write_hash(effect: &HashEffect<'_>, dialect: Dialect, out: &mut CommandWriter<'_>) -> bool {
    let has_deadlines = dialect.has_field_deadlines();
    match *effect {
        HashEffect::Set { key, pairs, expiry } => match expiry {
            ExpiryChange::Keep if has_deadlines => {
                let args = out.start("HSETEX", 4 + pairs.len()).arg(key.bytes).arg(b"KEEPTTL").arg(b"FIELDS");
                args.number(pairs.len() / 2).args(pairs.iter());
                false
            }
            ExpiryChange::At(at) if has_deadlines => {
                let args = out.start("HSETEX", 5 + pairs.len()).arg(key.bytes).arg(b"PXAT").number(at.0);
                args.arg(b"FIELDS").number(pairs.len() / 2).args(pairs.iter());
                false
            }
            _ => {
                out.start("HSET", 1 + pairs.len()).arg(key.bytes).args(pairs.iter());
                matches!(expiry, ExpiryChange::At(_))
            }
        },
        HashEffect::Remove { key, fields } => {
            named("HDEL", key.bytes, fields, out);
            false
        }
        HashEffect::ExpireAt { key, at, fields } if has_deadlines => {
            let args = out.start("HPEXPIREAT", 4 + fields.len()).arg(key.bytes).number(at.0).arg(b"FIELDS");
            args.number(fields.len()).args(fields.iter());
            false
        }
        HashEffect::Persist { key, fields } if has_deadlines => {
            let args = out.start("HPERSIST", 3 + fields.len()).arg(key.bytes).arg(b"FIELDS");
            args.number(fields.len()).args(fields.iter());
            false
        }
        HashEffect::ExpireAt { .. } => true,
        HashEffect::Persist { .. } => false,
    }
}

pub(super) fn write_set(effect: &SetEffect<'_>, out: &mut CommandWriter<'_>) {
    match *effect {
        SetEffect::Add { key, members, .. } => named("SADD", key.bytes, members, out),
        SetEffect::Remove { key, members, .. } => named("SREM", key.bytes, members, out),
    }
}

pub(super) fn write_zset(effect: &ZsetEffect<'_>, out: &mut CommandWriter<'_>) {
    match *effect {
        // The form in memory changes, and nothing else.
        ZsetEffect::Add { members, .. } if members.is_empty() => {}
        ZsetEffect::Add { key, members, .. } => {
            let args = out.start("ZADD", 1 + members.len()).arg(key.bytes);
            for (name, score) in scored(members) {
                let mut text = Vec::new();
                fastness_resp::double::write(score, &mut text);
                args.arg(&text).arg(name);
            }
        }
        ZsetEffect::Remove { key, members } => named("ZREM", key.bytes, members, out),
    }
}

fn named(command: &str, key: &[u8], names: Items<'_>, out: &mut CommandWriter<'_>) {
    out.start(command, 1 + names.len()).arg(key).args(names.iter());
}
