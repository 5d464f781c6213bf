//! The attribute of a command: what a client asks for this one command. An unknown name or value is refused together
//! with the command, because the client relies on what it asks for.

use std::time::Duration;

use fastness_resp::Args;
use fastness_shard::{DurabilityOverride, IdempotencyKey, ReadConfirmation};
use fastness_types::BootNs;

/// What the reply waits for.
const DURABILITY: &str = "durability";
/// How a read is confirmed.
const READS: &str = "reads";
/// By what a write is recognised when it is sent again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// What tells a write from others with its key.
const IDEMPOTENCY_PAYLOAD: &str = "idempotency-payload";
/// How old the data may be from which a replica answers, in ms.
const MAX_STALENESS: &str = "max-staleness";
/// The client's span, of which the command's becomes a child.
const TRACE_PARENT: &str = "traceparent";
/// When the command is refused instead of run, on the boot clock of this machine, in ms.
const DEADLINE: &str = "deadline";

/// What one command overrides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overrides<'a> {
    /// What its reply waits for.
    pub durability: Option<DurabilityOverride>,
    /// How its read is confirmed.
    pub reads: Option<ReadConfirmation>,
    /// By what a write is recognised when it is sent again.
    pub idempotency: Option<IdempotencyKey<'a>>,
    /// How old the data may be from which a replica answers.
    pub staleness_max: Option<Duration>,
    /// When the command is refused instead of run.
    pub deadline: Option<BootNs>,
    /// The client's span.
    pub trace_parent: Option<TraceParent>,
}

/// A client's span, as the W3C's recommendation "Trace Context" has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; not 0.
    pub trace_id: u128,
    /// The client's span; not 0.
    pub span_id: u64,
    /// Whether the client records its span.
    pub is_sampled: bool,
}

impl std::fmt::Display for TraceParent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.is_sampled))
    }
}

impl TraceParent {
    /// Parses `00-TRACE-SPAN-FLAGS`, in hexadecimal digits in lower case.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<TraceParent> {
        let text = std::str::from_utf8(value).ok()?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let mut parts = text.split('-');
        let mut part = |len: usize| {
            let part = parts.next().filter(|part| part.len() == len && part.bytes().all(is_digit))?;
            u128::from_str_radix(part, 16).ok()
        };
        let (version, trace_id, span_id, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let is_whole = version != 0 || parts.next().is_none();
        let is_valid = version != 0xff && is_whole && trace_id != 0 && span_id != 0;
        is_valid.then_some(TraceParent { trace_id, span_id: span_id as u64, is_sampled: flags & 1 == 1 })
    }
}

/// Parses names and values.
///
/// # Errors
/// The text of the error reply.
pub fn parse(pairs: Args<'_>) -> Result<Overrides<'_>, Vec<u8>> {
    let mut overrides = Overrides::default();
    let mut payload = None;
    for i in (0..pairs.len()).step_by(2) {
        let (name, value) = (pairs.get(i), pairs.get(i + 1));
        if name.eq_ignore_ascii_case(DURABILITY.as_bytes()) {
            set(&mut overrides.durability, DurabilityOverride::named(value), DURABILITY, "'sync' or 'default'", value)?;
        } else if name.eq_ignore_ascii_case(READS.as_bytes()) {
            set(&mut overrides.reads, ReadConfirmation::named(value), READS, "'quorum' or 'default'", value)?;
        } else if name.eq_ignore_ascii_case(IDEMPOTENCY_KEY.as_bytes()) {
            set(&mut overrides.idempotency, key(value), IDEMPOTENCY_KEY, "CLIENT:SEQUENCE", value)?;
        } else if name.eq_ignore_ascii_case(IDEMPOTENCY_PAYLOAD.as_bytes()) {
            set(&mut payload, checksum(value), IDEMPOTENCY_PAYLOAD, "32 hexadecimal digits", value)?;
        } else if name.eq_ignore_ascii_case(MAX_STALENESS.as_bytes()) {
            set(&mut overrides.staleness_max, span(value), MAX_STALENESS, "milliseconds, at least 1", value)?;
        } else if name.eq_ignore_ascii_case(DEADLINE.as_bytes()) {
            let at = span(value).map(|since_boot| BootNs(0).plus(since_boot));
            set(&mut overrides.deadline, at, DEADLINE, "milliseconds, at least 1", value)?;
        } else if name.eq_ignore_ascii_case(TRACE_PARENT.as_bytes()) {
            let parent = TraceParent::parse(value);
            set(&mut overrides.trace_parent, parent, TRACE_PARENT, "00-TRACE-SPAN-FLAGS", value)?;
        } else {
            let behind = "' in front of the command: it takes 'durability', 'reads', 'idempotency-key', \
                          'idempotency-payload', 'max-staleness', 'deadline' and 'traceparent'";
            return Err(quoting("ERR unknown attribute '", name, behind));
        }
    }
    match (&mut overrides.idempotency, payload) {
        (Some(key), payload) => key.payload = payload,
        (None, Some(_)) => {
            return Err(b"ERR attribute 'idempotency-payload' in front of the command needs 'idempotency-key'".into());
        }
        (None, None) => {}
    }
    Ok(overrides)
}

/// A key: the client, which may hold colons, and the sequence number after the last one.
fn key(value: &[u8]) -> Option<IdempotencyKey<'_>> {
    let at = value.iter().rposition(|byte| *byte == b':')?;
    let sequence = std::str::from_utf8(&value[at + 1..]).ok()?;
    let is_number = sequence.bytes().all(|byte| byte.is_ascii_digit());
    let sequence = sequence.parse().ok().filter(|_| is_number)?;
    Some(IdempotencyKey { client: &value[..at], sequence, payload: None })
}

fn span(value: &[u8]) -> Option<Duration> {
    let is_number = value.iter().all(u8::is_ascii_digit);
    let ms = std::str::from_utf8(value).ok()?.parse().ok().filter(|ms| is_number && *ms > 0)?;
    Some(Duration::from_millis(ms))
}

fn checksum(value: &[u8]) -> Option<u128> {
    let is_hexadecimal = value.len() == 32 && value.iter().all(u8::is_ascii_hexdigit);
    u128::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok().filter(|_| is_hexadecimal)
}

fn set<T: PartialEq>(
    held: &mut Option<T>,
    named: Option<T>,
    name: &str,
    values: &str,
    value: &[u8],
) -> Result<(), Vec<u8>> {
    let Some(named) = named else {
        let before = format!("ERR attribute '{name}' in front of the command takes {values}, not '");
        return Err(quoting(&before, value, "'"));
    };
    if held.as_ref().is_some_and(|before| *before != named) {
        let text = format!("ERR attribute '{name}' stands in front of the command twice, with different values");
        return Err(text.into_bytes());
    }
    *held = Some(named);
    Ok(())
}

/// An error line cannot hold every byte: what ends a line is shown as a blank when it is written.
fn quoting(before: &str, word: &[u8], behind: &str) -> Vec<u8> {
    [before.as_bytes(), word, behind.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[&str], expect: Result<Overrides<'_>, &str>) {
        let words: Vec<&[u8]> = pairs.iter().map(|word| word.as_bytes()).collect();
        assert_eq!(parse(Args::slices(&words)), expect.map_err(|text| text.as_bytes().to_vec()));
    }

    #[test]
    fn attributes() {
        let durability = |wanted| Ok(Overrides { durability: Some(wanted), ..Overrides::default() });
        check(&["durability", "sync"], durability(DurabilityOverride::Sync));
        check(&["Durability", "DEFAULT"], durability(DurabilityOverride::Default));
        check(&["durability", "sync", "durability", "sync"], durability(DurabilityOverride::Sync));
        check(&["reads", "QUORUM"], Ok(Overrides { reads: Some(ReadConfirmation::Quorum), ..Overrides::default() }));
        let both = Overrides {
            durability: Some(DurabilityOverride::Sync),
            reads: Some(ReadConfirmation::Default),
            ..Overrides::default()
        };
        check(&["reads", "default", "durability", "sync"], Ok(both));
        check(
            &["reads", "lease"],
            Err("ERR attribute 'reads' in front of the command takes 'quorum' or 'default', not 'lease'"),
        );
        check(
            &["durability", "sync", "durability", "default"],
            Err("ERR attribute 'durability' stands in front of the command twice, with different values"),
        );
        check(
            &["durability", "async"],
            Err("ERR attribute 'durability' in front of the command takes 'sync' or 'default', not 'async'"),
        );
        check(
            &["durability", "sync", "ttl", "5"],
            Err("ERR unknown attribute 'ttl' in front of the command: it takes 'durability', 'reads', \
                 'idempotency-key', 'idempotency-payload', 'max-staleness', 'deadline' and 'traceparent'"),
        );
        let keyed = |client: &'static [u8], sequence, payload| {
            let idempotency = Some(IdempotencyKey { client, sequence, payload });
            Ok(Overrides { idempotency, ..Overrides::default() })
        };
        check(&["idempotency-key", "a:b:17"], keyed(b"a:b", 17, None));
        check(&["Idempotency-Key", ":18446744073709551615"], keyed(b"", u64::MAX, None));
        let digits = "000000000000000000000000000000fF";
        check(&["idempotency-payload", digits, "idempotency-key", "c:1"], keyed(b"c", 1, Some(255)));
        for wrong in ["17", "a:", "a:+1", "a:-1", "a:18446744073709551616", "a:1 "] {
            let text =
                format!("ERR attribute 'idempotency-key' in front of the command takes CLIENT:SEQUENCE, not '{wrong}'");
            check(&["idempotency-key", wrong], Err(&text));
        }
        check(
            &["idempotency-key", "a:1", "idempotency-payload", "+f"],
            Err("ERR attribute 'idempotency-payload' in front of the command takes 32 hexadecimal digits, not '+f'"),
        );
        let staleness_max = Some(Duration::from_millis(250));
        check(&["Max-Staleness", "250"], Ok(Overrides { staleness_max, ..Overrides::default() }));
        let deadline = Some(BootNs(1_500_000_000));
        check(&["DEADLINE", "1500"], Ok(Overrides { deadline, ..Overrides::default() }));
        for wrong in ["0", "-1", "", "1.5"] {
            let text = format!(
                "ERR attribute 'max-staleness' in front of the command takes milliseconds, at least 1, not '{wrong}'"
            );
            check(&["max-staleness", wrong], Err(&text));
            check(&["deadline", wrong], Err(&text.replace("max-staleness", "deadline")));
        }
        check(
            &["idempotency-payload", digits],
            Err("ERR attribute 'idempotency-payload' in front of the command needs 'idempotency-key'"),
        );
    }

    #[test]
    fn parents_of_traces() {
        let parent = TraceParent { trace_id: 0xabc, span_id: 7, is_sampled: true };
        let text = "00-00000000000000000000000000000abc-0000000000000007-01";
        check(&["TraceParent", text], Ok(Overrides { trace_parent: Some(parent), ..Overrides::default() }));
        assert_eq!(parent.to_string(), text);
        let later = TraceParent::parse(b"01-00000000000000000000000000000abc-0000000000000007-00-more");
        assert_eq!(later, Some(TraceParent { is_sampled: false, ..parent }));
        for wrong in [
            "ff-00000000000000000000000000000abc-0000000000000007-01",
            "00-00000000000000000000000000000000-0000000000000007-01",
            "00-00000000000000000000000000000abc-0000000000000000-01",
            "00-00000000000000000000000000000ABC-0000000000000007-01",
            "00-00000000000000000000000000000abc-0000000000000007-01-more",
            "00-abc-7-1",
            "",
        ] {
            let text =
                format!("ERR attribute 'traceparent' in front of the command takes 00-TRACE-SPAN-FLAGS, not '{wrong}'");
            check(&["traceparent", wrong], Err(&text));
        }
    }
}
