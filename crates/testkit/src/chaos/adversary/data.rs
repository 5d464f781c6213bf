//! Attacks by stored data: the largest values, the most keys, and values that grow.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use fastness_load::Connection;
use fastness_load::connection::encode;
use fastness_load::outcome::{Outcome, classify, classify_exec};
use fastness_resp::value::Value;
use tokio::io::AsyncWriteExt as _;

use super::outcome::AttackOutcome;
use super::target::Target;
use crate::payload;

const MIB: usize = 1 << 20;
/// Number of keys that are set with one pipeline.
const CHUNK: usize = 2_000;
/// Length of the name of a key that expires with many others: three of them exceed a log entry.
const LONG_NAME: usize = 24 * MIB;
/// Maximum time for what must happen without a command.
const BY_ITSELF: Duration = Duration::from_secs(30);

async fn call(client: &mut Connection, command: &[&[u8]]) -> Result<Value> {
    client.call(command).await.with_context(|| String::from_utf8_lossy(command[0]).into_owned())
}

/// The reply as text. Errors are normal under `maxmemory`; the error is the evidence that there was an answer.
fn said(reply: &Value) -> String {
    match reply {
        Value::Error(text) => String::from_utf8_lossy(text).chars().take(40).collect(),
        _ => "OK".to_owned(),
    }
}

/// Sets many small keys, with the arguments `behind` after each value.
async fn set_many(target: &Target, client: &mut Connection, count: usize, behind: &[&[u8]]) -> Result<usize> {
    let mut set = 0;
    for first in (0..count).step_by(CHUNK) {
        let mut bytes = Vec::new();
        let names = first..count.min(first + CHUNK);
        let sent = names.len();
        for n in names {
            let key = target.key(n);
            let words: Vec<&[u8]> =
                [b"SET", &key[..], b"0123456789abcdef"].into_iter().chain(behind.iter().copied()).collect();
            encode(&words, &mut bytes);
        }
        client.send_raw(&bytes).await?;
        set += sent - client.skip_replies(sent).await?;
    }
    Ok(set)
}

/// The longest string. It needs little space in the log, but all of it in a snapshot and a transfer.
pub(super) async fn huge_string(target: &Target) -> Result<AttackOutcome> {
    let len = target.size.pick(70_000_000, 512 * MIB - 1);
    let (mut client, key) = (target.connect().await?, target.key("string"));
    let set = call(&mut client, &[b"SETRANGE", &key, len.to_string().as_bytes(), b"x"]).await?;
    let strlen = call(&mut client, &[b"STRLEN", &key]).await?;
    let appended = call(&mut client, &[b"APPEND", &key, &vec![b'y'; MIB]]).await?;
    if classify(&set) == Outcome::Acknowledged && strlen != Value::Integer(len as i64 + 1) {
        return Ok(AttackOutcome::broken(format!("a string of {} bytes has STRLEN {strlen:?}", len + 1)));
    }
    Ok(AttackOutcome::effect(format!("SETRANGE {len}: {}, APPEND: {}", said(&set), said(&appended))))
}

/// A large hash: it is written, read whole, and removed at once.
pub(super) async fn huge_hash(target: &Target) -> Result<AttackOutcome> {
    let (mut client, key) = (target.connect().await?, target.key("hash"));
    let (count, chunk) = (target.size.pick(200_000, 1_200_000), 10_000);
    let mut written = 0;
    for first in (0..count).step_by(chunk) {
        let fields: Vec<Vec<u8>> = (first..first + chunk).map(|n: usize| format!("field{n}").into_bytes()).collect();
        let words =
            [&b"HSET"[..], &key].into_iter().chain(fields.iter().flat_map(|field| [&field[..], &b"0123456789"[..]]));
        let reply = call(&mut client, &words.collect::<Vec<_>>()).await?;
        if classify(&reply) != Outcome::Acknowledged {
            break;
        }
        written += chunk;
    }
    let all = call(&mut client, &[b"HGETALL", &key]).await?;
    if let Value::Array(parts) = &all
        && parts.len() != 2 * written
    {
        return Ok(AttackOutcome::broken(format!("a hash of {written} fields has {} in HGETALL", parts.len() / 2)));
    }
    let removed = call(&mut client, &[b"DEL", &key]).await?;
    Ok(AttackOutcome::effect(format!("{written} fields, DEL: {}", said(&removed))))
}

/// Many keys that few commands remove.
pub(super) async fn free_many(target: &Target) -> Result<AttackOutcome> {
    let mut client = target.connect().await?;
    let count = target.size.pick(50_000, 1_000_000);
    let set = set_many(target, &mut client, count, &[]).await?;
    for first in (0..count).step_by(CHUNK) {
        let keys: Vec<Vec<u8>> = (first..count.min(first + CHUNK)).map(|n| target.key(n)).collect();
        let unlink: Vec<&[u8]> = std::iter::once(&b"UNLINK"[..]).chain(keys.iter().map(Vec::as_slice)).collect();
        call(&mut client, &unlink).await?;
    }
    Ok(AttackOutcome::effect(format!("{set} keys set and removed")))
}

/// Many commands that read every key, whose sender disconnects.
pub(super) async fn keys_pipeline(target: &Target) -> Result<AttackOutcome> {
    let mut client = target.connect().await?;
    let set = set_many(target, &mut client, target.size.pick(50_000, 500_000), &[]).await?;
    let commands = target.size.pick(300, 4_000);
    let mut bytes = Vec::new();
    (0..commands).for_each(|_| encode(&[b"KEYS", b"nomatch"], &mut bytes));
    let mut stream = target.raw().await?;
    stream.write_all(&bytes).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(stream);
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < Duration::from_secs(2) {
        let sent = Instant::now();
        call(&mut client, &[b"GET", &target.key(0)]).await?;
        longest = longest.max(sent.elapsed());
    }
    Ok(AttackOutcome::effect(format!(
        "{commands} KEYS over {set} keys, the slowest read beside them took {} ms",
        longest.as_millis()
    )))
}

/// Keys that all expire at once: thousands of short names, and names that fill log entries.
pub(super) async fn mass_expiry(target: &Target) -> Result<AttackOutcome> {
    let mut client = target.connect().await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let at = (now + Duration::from_secs(target.size.pick(4, 15))).as_millis().to_string();
    let mut long = 0;
    for n in 0..3 {
        let mut key = target.key(format!("long{n}"));
        key.resize(LONG_NAME, b'n');
        let reply = call(&mut client, &[b"SET", &key, b"v", b"PXAT", at.as_bytes()]).await?;
        long += usize::from(classify(&reply) == Outcome::Acknowledged);
    }
    let count = target.size.pick(20_000, 500_000);
    let set = set_many(target, &mut client, count, &[b"PXAT", at.as_bytes()]).await?;
    // Also on a replica: the primary may have changed.
    let readonly = call(&mut client, &[b"READONLY"]).await?;
    ensure!(readonly.as_error().is_none(), "READONLY: {readonly:?}");
    let until = Instant::now() + BY_ITSELF;
    while call(&mut client, &[b"EXISTS", &target.key(count - 1)]).await? != Value::Integer(0) {
        if Instant::now() > until {
            return Ok(AttackOutcome::broken(format!("keys still exist {BY_ITSELF:?} after their deadline")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let written = call(&mut client, &[b"SET", &target.key("after"), b"v"]).await?;
    Ok(AttackOutcome::effect(format!(
        "{set} keys and {long} of {LONG_NAME} bytes expired, then SET: {}",
        said(&written)
    )))
}

/// Small payloads that become large values; the largest ones are refused.
pub(super) async fn restore_bomb(target: &Target) -> Result<AttackOutcome> {
    let mut client = target.connect().await?;
    let mut proof = Vec::new();
    for len in [8 * MIB, 78 * MIB].into_iter().chain(target.size.pick(None, Some(500 * MIB))) {
        let (key, payload) = (target.key("bomb"), payload::bomb(len));
        let restored = call(&mut client, &[b"RESTORE", &key, b"0", &payload, b"REPLACE"]).await?;
        if classify(&restored) == Outcome::Acknowledged {
            // In `async` a failover may have lost it, although it was acknowledged.
            let strlen = call(&mut client, &[b"STRLEN", &key]).await?;
            let Value::Integer(strlen) = strlen else { bail!("STRLEN answered {strlen:?} after RESTORE's OK") };
            if strlen != payload::bomb_len(len) as i64 {
                return Ok(AttackOutcome::broken(format!("a restored string of {len} bytes has STRLEN {strlen}")));
            }
        }
        proof.push(format!("{} bytes to {len}: {}", payload.len(), said(&restored)));
    }
    Ok(AttackOutcome::effect(proof.join(", ")))
}

async fn transaction(client: &mut Connection, commands: &[Vec<&[u8]>]) -> Result<Value> {
    let mut bytes = Vec::new();
    encode(&[b"MULTI"], &mut bytes);
    commands.iter().for_each(|command| encode(command, &mut bytes));
    encode(&[b"EXEC"], &mut bytes);
    client.send_raw(&bytes).await?;
    client.skip_replies(commands.len() + 1).await?;
    client.receive().await.context("EXEC")
}

/// Many large commands in one unit: all of them take effect, or none.
pub(super) async fn large_transaction(target: &Target) -> Result<AttackOutcome> {
    let (mut client, value) = (target.connect().await?, vec![b'v'; MIB]);
    let count = target.size.pick(70, 200);
    let keys: Vec<Vec<u8>> = (0..count).map(|n| target.key(n)).collect();
    let commands: Vec<Vec<&[u8]>> = keys.iter().map(|key| vec![&b"SET"[..], key, &value]).collect();
    let reply = transaction(&mut client, &commands).await?;
    let exists: Vec<&[u8]> = std::iter::once(&b"EXISTS"[..]).chain(keys.iter().map(Vec::as_slice)).collect();
    let there = call(&mut client, &exists).await?;
    let wanted = if classify_exec(&reply) == Outcome::Acknowledged { count as i64 } else { 0 };
    if classify_exec(&reply) != Outcome::Unknown && there != Value::Integer(wanted) {
        return Ok(AttackOutcome::broken(format!(
            "EXEC of {count} commands: {}, and {there:?} of their keys exist",
            said(&reply)
        )));
    }
    Ok(AttackOutcome::effect(format!("EXEC of {count} times {MIB} bytes: {}", said(&reply))))
}

/// Short commands with long effects, in one unit.
pub(super) async fn growing_transaction(target: &Target) -> Result<AttackOutcome> {
    let (mut client, key) = (target.connect().await?, target.key("grown"));
    let count = 15_000;
    let commands: Vec<Vec<&[u8]>> = (0..count).map(|_| vec![&b"INCRBYFLOAT"[..], &key, b"1e4900"]).collect();
    let reply = transaction(&mut client, &commands).await?;
    let len = call(&mut client, &[b"STRLEN", &key]).await?;
    let Value::Integer(len) = len else { bail!("STRLEN answered {len:?}") };
    match classify_exec(&reply) {
        Outcome::Refused if len > 0 => {
            Ok(AttackOutcome::broken(format!("EXEC was refused ({}), and its key exists", said(&reply))))
        }
        _ => Ok(AttackOutcome::effect(format!("EXEC of {count} times 4,901 bytes of effects: {}", said(&reply)))),
    }
}
