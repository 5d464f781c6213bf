//! Compares two replies.

use fastness_resp::{Value, value};

use super::exclusions::Comparison;

/// Compares the product's replies (before and after the reference answered, equal unless they depend on the clock) with
/// the reference's. `None` if they are equal as far as required.
#[must_use]
pub fn difference(comparison: Comparison, ours: [&[u8]; 2], theirs: &[u8]) -> Option<String> {
    let equal = match comparison {
        Comparison::Skip => true,
        _ if ours[1] == theirs => true,
        Comparison::Exact | Comparison::Recoded => false,
        Comparison::Unordered => sorted(decode(ours[1])) == sorted(decode(theirs)),
        Comparison::Between => is_between([decode(ours[0]), decode(theirs), decode(ours[1])]),
        Comparison::Kind => match [decode(ours[1]), decode(theirs)] {
            [Value::Error(_), _] | [_, Value::Error(_)] => false,
            [ours, theirs] => std::mem::discriminant(&ours) == std::mem::discriminant(&theirs),
        },
        Comparison::Drawn => match [decode(ours[1]), decode(theirs)] {
            [Value::Bulk(_), Value::Bulk(_)] => true,
            [Value::Array(ours), Value::Array(theirs)] | [Value::Set(ours), Value::Set(theirs)] => {
                ours.len() == theirs.len()
            }
            _ => false,
        },
    };
    let shown = |reply: &[u8]| match reply.len() {
        len if len > 2_000 => format!("{}... ({len} bytes)", reply[..2_000].escape_ascii()),
        _ => reply.escape_ascii().to_string(),
    };
    (!equal).then(|| format!("  ours:   {}\n  theirs: {}", shown(ours[1]), shown(theirs)))
}

fn is_between(replies: [Value; 3]) -> bool {
    match replies {
        [Value::Integer(before), Value::Integer(theirs), Value::Integer(after)] => (after..=before).contains(&theirs),
        [Value::Array(before), Value::Array(theirs), Value::Array(after)] => {
            let lengths = [before.len(), theirs.len(), after.len()];
            let mut members = before.into_iter().zip(theirs).zip(after);
            lengths == [lengths[0]; 3] && members.all(|((before, theirs), after)| is_between([before, theirs, after]))
        }
        _ => false,
    }
}

/// Parses bytes that are exactly one reply.
///
/// # Panics
/// If they are not a whole reply, or more than one.
#[must_use]
pub fn decode(bytes: &[u8]) -> Value {
    let parsed = value::parse(bytes).unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
    let (value, length) = parsed.unwrap_or_else(|| panic!("half a reply: {}", bytes.escape_ascii()));
    assert_eq!(length, bytes.len(), "more than one reply: {}", bytes.escape_ascii());
    value
}

/// Sorts arrays, sets and maps at every depth.
fn sorted(value: Value) -> Value {
    let sort = |members: Vec<Value>| {
        let mut members: Vec<Value> = members.into_iter().map(sorted).collect();
        members.sort_by_key(|member| format!("{member:?}"));
        members
    };
    match value {
        Value::Array(members) => Value::Array(sort(members)),
        Value::Set(members) => Value::Set(sort(members)),
        Value::Map(mut pairs) => {
            pairs.sort_by_key(|pair| format!("{pair:?}"));
            Value::Map(pairs)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(comparison: Comparison, ours: &str, theirs: &str) -> bool {
        difference(comparison, [ours.as_bytes(); 2], theirs.as_bytes()).is_none()
    }

    #[test]
    fn comparisons() {
        assert!(equal(Comparison::Unordered, "*2\r\n:1\r\n:2\r\n", "*2\r\n:2\r\n:1\r\n"));
        assert!(!equal(Comparison::Exact, "*2\r\n:1\r\n:2\r\n", "*2\r\n:2\r\n:1\r\n"));
        assert!(!equal(Comparison::Unordered, "*1\r\n:1\r\n", "*1\r\n:2\r\n"));
        assert!(equal(Comparison::Kind, ":1\r\n", ":2\r\n"));
        assert!(!equal(Comparison::Kind, ":1\r\n", "$1\r\n2\r\n"));
        assert!(!equal(Comparison::Kind, "-ERR a\r\n", "-ERR b\r\n"));
        assert!(equal(Comparison::Drawn, "*1\r\n:1\r\n", "*1\r\n:2\r\n"));
        assert!(equal(Comparison::Drawn, "$1\r\na\r\n", "$1\r\nb\r\n"));
        assert!(!equal(Comparison::Drawn, "*1\r\n:1\r\n", "*2\r\n:1\r\n:2\r\n"));
        assert!(!equal(Comparison::Drawn, "$-1\r\n", "$1\r\na\r\n"));
        let between =
            |theirs: &str| difference(Comparison::Between, [b":9\r\n", b":7\r\n"], theirs.as_bytes()).is_none();
        assert!(
            between(":7\r\n") && between(":8\r\n") && between(":9\r\n") && !between(":6\r\n") && !between(":10\r\n")
        );
    }
}
