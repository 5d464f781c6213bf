//! The outcome of a command that may have changed data, derived from its reply.

use fastness_resp::value::Value;

/// The three outcomes, which are never merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The reply is a success: the write must survive.
    Acknowledged,
    /// The command was refused before it was staged: the write must never be seen.
    Refused,
    /// The write may or may not have happened: a lost connection, a time-out, or an error that is not a known refusal.
    Unknown,
}

/// Error codes by which a server says that it has done nothing. `ERR` is one of them: a server uses it for invalid
/// requests only.
const REFUSALS: [&[u8]; 28] = [
    b"ERR",
    b"CLUSTERDOWN",
    b"MOVED",
    b"ASK",
    b"LOADING",
    b"READONLY",
    b"TRYAGAIN",
    b"OOM",
    b"MASTERDOWN",
    b"NOAUTH",
    b"NOPERM",
    b"DENIED",
    b"WRONGPASS",
    b"NOPROTO",
    b"CROSSSLOT",
    b"WRONGTYPE",
    b"EXECABORT",
    b"BUSYKEY",
    b"BUSYGROUP",
    b"NOGROUP",
    b"INVALIDOBJ",
    b"IDEMPOTENCYREUSED",
    b"STALE",
    b"DEADLINE",
    b"BUSY",
    b"NOTBUSY",
    b"UNKILLABLE",
    b"NOSCRIPT",
];

/// Error codes after which a write may have happened or may still happen. `UNBLOCKED` ends a wait for the commit of an
/// earlier write; `IDEMPOTENCYPAST` refuses to repeat a write about which nothing is known any more.
const DOUBTS: [&[u8]; 3] = [b"UNKNOWN", b"UNBLOCKED", b"IDEMPOTENCYPAST"];

/// The outcome that an error code means; `None` for an unknown code, which [`classify`] takes for [`Outcome::Unknown`].
#[must_use]
pub fn of_code(code: &[u8]) -> Option<Outcome> {
    if REFUSALS.contains(&code) {
        return Some(Outcome::Refused);
    }
    DOUBTS.contains(&code).then_some(Outcome::Unknown)
}

/// The outcome that a reply means.
#[must_use]
pub fn classify(reply: &Value) -> Outcome {
    let Value::Error(text) = reply else {
        return Outcome::Acknowledged;
    };
    let code = text.split(|&b| b == b' ').next().unwrap_or_default();
    of_code(code).unwrap_or(Outcome::Unknown)
}

/// The outcome that the reply to EXEC means. A transaction that did not run because a watched key had changed is a
/// refusal.
#[must_use]
pub fn classify_exec(reply: &Value) -> Outcome {
    match reply {
        Value::Null | Value::NullArray => Outcome::Refused,
        Value::Array(_) => Outcome::Acknowledged,
        Value::Error(_) => classify(reply),
        // Only after a reply of another command, which says nothing about EXEC.
        _ => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Value {
        Value::Error(text.as_bytes().to_vec())
    }

    #[test]
    fn an_unknown_error_is_not_a_refusal() {
        assert_eq!(classify(&error("MOVED 1 a:2")), Outcome::Refused);
        assert_eq!(classify(&error("ERR syntax error")), Outcome::Refused);
        assert_eq!(classify(&error("UNKNOWN outcome: leadership was lost")), Outcome::Unknown);
        assert_eq!(classify(&error("ERRATIC")), Outcome::Unknown);
        assert_eq!(classify(&error("")), Outcome::Unknown);
        assert_eq!(classify(&Value::Null), Outcome::Acknowledged);
    }

    #[test]
    fn only_an_array_acknowledges_exec() {
        assert_eq!(classify_exec(&Value::Array(vec![])), Outcome::Acknowledged);
        assert_eq!(classify_exec(&Value::Null), Outcome::Refused);
        assert_eq!(classify_exec(&Value::NullArray), Outcome::Refused);
        assert_eq!(classify_exec(&error("EXECABORT Transaction discarded")), Outcome::Refused);
        assert_eq!(classify_exec(&error("UNKNOWN outcome")), Outcome::Unknown);
        assert_eq!(classify_exec(&Value::Simple(b"QUEUED".to_vec())), Outcome::Unknown);
    }
}
