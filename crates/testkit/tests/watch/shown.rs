//! Changes and units in one line each.

use bytes::Bytes;
use fastness_wire::v1::watch_change::Change;
use fastness_wire::v1::{WatchCause, WatchExpiry, WatchUnit, watch_expiry};

/// A change in one line.
fn text(change: &Change) -> String {
    let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let names = |fields: &[Bytes]| fields.iter().map(|field| of(field)).collect::<Vec<_>>().join(",");
    let expiry = |expiry: &Option<WatchExpiry>| match expiry.and_then(|expiry| expiry.expiry) {
        None => "",
        Some(watch_expiry::Expiry::ExpireAtMs(_)) => " at",
        Some(watch_expiry::Expiry::KeepTtl(_)) => " keep",
    };
    match change {
        Change::StringSet(set) => format!("set {} {}{}", of(&set.key), of(&set.value), expiry(&set.expiry)),
        Change::StringAppend(append) => format!("append {} {}", of(&append.key), of(&append.value)),
        Change::StringSetRange(set) => format!("setrange {} {} {}", of(&set.key), set.offset, of(&set.value)),
        Change::KeyDelete(delete) => format!("delete {}", of(&delete.key)),
        Change::KeyExpire(expire) => format!("expire {}", of(&expire.key)),
        Change::KeyPersist(persist) => format!("persist {}", of(&persist.key)),
        Change::Flush(_) => "flush".to_owned(),
        Change::KeyRename(rename) => {
            let name = |name: &Option<Bytes>| name.as_ref().map_or("-".to_owned(), |name| of(name));
            format!("rename {} {}", name(&rename.from), name(&rename.to))
        }
        Change::KeyCopy(copy) => {
            format!("copy {} {}", copy.from.as_ref().map_or("-".to_owned(), |from| of(from)), of(&copy.to))
        }
        Change::HashSet(set) => {
            let fields = set.fields.iter().map(|field| format!("{}={}", of(&field.name), of(&field.value)));
            format!("hset {} {}{}", of(&set.key), fields.collect::<Vec<_>>().join(","), expiry(&set.expiry))
        }
        Change::HashDelete(delete) => format!("hdel {} {}", of(&delete.key), names(&delete.fields)),
        Change::HashExpire(expire) => format!("hexpire {} {}", of(&expire.key), names(&expire.fields)),
        Change::HashPersist(persist) => format!("hpersist {} {}", of(&persist.key), names(&persist.fields)),
        Change::SetAdd(add) => format!("sadd {} {}", of(&add.key), names(&add.members)),
        Change::SetRemove(remove) => format!("srem {} {}", of(&remove.key), names(&remove.members)),
        Change::ListPush(push) => {
            let elements: Vec<String> = push.elements.iter().map(|element| of(&element.value)).collect();
            format!("{} {} {}", if push.at_tail { "rpush" } else { "lpush" }, of(&push.key), elements.join(","))
        }
        Change::ListTrim(trim) => format!("ltrim {} {} {}", of(&trim.key), trim.head, trim.tail),
        Change::ListSet(set) => format!("lset {} {}", of(&set.key), set.position),
        Change::ListInsert(insert) => format!("linsert {} {}", of(&insert.key), insert.position),
        Change::ListRemove(remove) => format!("lrem {} {:?}", of(&remove.key), remove.positions),
        Change::ListRotate(rotate) => format!("lrotate {} {} {}", of(&rotate.key), rotate.from_tail, rotate.to_tail),
        Change::SortedSetAdd(add) => format!("zadd {} {}", of(&add.key), add.members.len()),
        Change::SortedSetRemove(remove) => format!("zrem {} {}", of(&remove.key), names(&remove.members)),
        Change::Other(other) => format!("other {}", of(&other.key)),
    }
}

/// A unit in one line, without the hash tag that lets keys be in one transaction.
pub(super) fn line(unit: &WatchUnit) -> String {
    let changes: Vec<String> =
        unit.changes.iter().map(|change| change.change.as_ref().map_or("none".to_owned(), text)).collect();
    let cause = if unit.cause() == WatchCause::Expiry { "expired: " } else { "" };
    format!("{cause}{}", changes.join("; ")).replace("{t}", "")
}

/// Units, each in one line.
pub(super) fn lines(units: &[WatchUnit]) -> Vec<String> {
    units.iter().map(line).collect()
}
