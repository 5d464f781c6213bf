//! Commands and replies as text, for tests that talk to a node.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastness_load::Connection;
use fastness_resp::value::Value;

use crate::wait::until_ok;

/// The reply as text: errors start with a dash, null is `nil`, the elements of an array are lines.
#[must_use]
pub fn text(reply: Value) -> String {
    match reply {
        Value::Simple(text) | Value::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
        Value::Error(text) => format!("-{}", String::from_utf8_lossy(&text)),
        Value::Integer(number) => number.to_string(),
        Value::Null | Value::NullArray => "nil".to_owned(),
        Value::Array(parts) => parts.into_iter().map(text).collect::<Vec<_>>().join("\n"),
        other => format!("{other:?}"),
    }
}

/// Sends a command and returns its reply as [`text`].
///
/// # Errors
/// The connection fails.
pub async fn call_text(client: &mut Connection, words: &[&str]) -> Result<String> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    Ok(text(client.call(&words).await?))
}

/// Sends a command whose reply must be `expected`.
///
/// # Errors
/// The reply is another one, or the connection fails.
pub async fn expect_reply(client: &mut Connection, words: &[&str], expected: &str) -> Result<()> {
    let reply = call_text(client, words).await?;
    let shown: String = words.join(" ").chars().take(100).collect();
    ensure!(reply == expected, "{shown}: {}", reply.chars().take(300).collect::<String>());
    Ok(())
}

/// The value of a field of INFO.
///
/// # Errors
/// There is no such field, or the connection fails.
pub async fn info_field(client: &mut Connection, section: &str, name: &str) -> Result<u64> {
    let info = call_text(client, &["INFO", section]).await?;
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.with_context(|| format!("no {name} in {info}"))?.parse().context("a number")
}

/// Sets `maxmemory` this far above the memory in use, and waits until the primary applies it.
///
/// # Errors
/// If it does not within `patience`.
pub async fn bound_memory(client: &mut Connection, room: u64, patience: Duration) -> Result<()> {
    let bound = info_field(client, "memory", "used_memory").await? + room;
    expect_reply(client, &["CONFIG", "SET", "maxmemory", &bound.to_string()], "OK").await?;
    until_ok(patience, async || {
        let found = info_field(client, "memory", "maxmemory").await?;
        ensure!(found == bound, "the bound is not taken over: {found}, not {bound}");
        Ok(())
    })
    .await
}
