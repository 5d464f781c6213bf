//! What a reply says about a command that may have changed something.

use fastness_resp::value::Value;

/// The three families; never folded into each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The reply is a success: the write must survive.
    Acknowledged,
    /// Refused before it was staged: the write must never be seen.
    Refused,
    /// May or may not have happened: a lost connection, a time-out, an error that is not a known refusal.
    Unknown,
}

/// Error prefixes by which a server says that it has not done anything.
const REFUSALS: [&[u8]; 12] = [
    b"CLUSTERDOWN",
    b"MOVED",
    b"ASK",
    b"LOADING",
    b"READONLY",
    b"TRYAGAIN",
    b"OOM",
    b"MASTERDOWN",
    b"NOAUTH",
    b"CROSSSLOT",
    b"WRONGTYPE",
    b"EXECABORT",
];

/// Sorts one reply. `ERR` counts as refused: a server reports bad requests with it and nothing else.
#[must_use]
pub fn classify(reply: &Value) -> Outcome {
    let Value::Error(text) = reply else {
        return Outcome::Acknowledged;
    };
    let text: &[u8] = text.as_ref();
    let prefix = text.split(|&b| b == b' ').next().unwrap_or_default();
    if prefix == b"ERR" || REFUSALS.contains(&prefix) { Outcome::Refused } else { Outcome::Unknown }
}
