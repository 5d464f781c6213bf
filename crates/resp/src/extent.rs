//! Finds where a reply ends, without reading it: a long reply that arrives in many pieces is looked through once.

use memchr::memchr;

use crate::number::parse_int;
use crate::value::{DEPTH_MAX, ValueError};

/// Longest line of a reply that is no text, and of its header: more is not a reply of ours.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The state of the search for the end of one reply.
#[derive(Debug, Default)]
pub struct ReplyExtent {
    /// Where the next header starts, or would if the text before it were complete.
    at: usize,
    /// How many values each open aggregate still needs, the innermost last.
    open: Vec<usize>,
    /// Values that have begun.
    values: usize,
}

impl ReplyExtent {
    /// Looks through `bytes`, which start where they started before and may be longer. Returns the length of the reply
    /// and its number of values (aggregates, and what is in them) once it is complete; the state is then as at the
    /// start.
    ///
    /// # Errors
    /// The bytes are not a reply.
    pub fn end(&mut self, bytes: &[u8]) -> Result<Option<(usize, usize)>, ValueError> {
        loop {
            if self.values > 0 && self.open.is_empty() {
                if self.at > bytes.len() {
                    return Ok(None);
                }
                let end = (self.at, self.values);
                *self = ReplyExtent::default();
                return Ok(Some(end));
            }
            let Some(rest) = bytes.get(self.at..).filter(|rest| !rest.is_empty()) else { return Ok(None) };
            let Some(len) = memchr(b'\r', rest) else {
                return if rest.len() > LINE_BYTES_MAX { Err(ValueError::InvalidLine) } else { Ok(None) };
            };
            match rest.get(len + 1) {
                None => return Ok(None),
                Some(b'\n') if len > 0 => {}
                Some(_) => return Err(ValueError::InvalidLine),
            }
            let line = &rest[1..len];
            self.at += len + 2;
            self.take(rest[0], line)?;
        }
    }

    /// Says how many of the first `len` bytes were looked through, and forgets them: the caller drops them, and passes
    /// only what follows from then on.
    pub fn pass(&mut self, len: usize) -> usize {
        let passed = len.min(self.at);
        self.at -= passed;
        passed
    }

    /// One header: it completes a value, or opens an aggregate.
    fn take(&mut self, kind: u8, line: &[u8]) -> Result<(), ValueError> {
        let number = || parse_int(line).ok_or(ValueError::InvalidNumber);
        let count = || usize::try_from(number()?).map_err(|_| ValueError::InvalidNumber);
        self.values += 1;
        let values = match kind {
            b'$' | b'*' if line == b"-1" => 0,
            b'$' | b'!' | b'=' => {
                self.at = self.at.saturating_add(count()?).saturating_add(2);
                0
            }
            b'*' | b'~' | b'>' => count()?,
            b'%' => count()?.checked_mul(2).ok_or(ValueError::InvalidNumber)?,
            // The value that the pairs describe follows them.
            b'|' => count()?.checked_mul(2).and_then(|pairs| pairs.checked_add(1)).ok_or(ValueError::InvalidNumber)?,
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => 0,
            other => return Err(ValueError::UnknownType(other)),
        };
        if values > 0 {
            self.open.push(values);
            return if self.open.len() > DEPTH_MAX { Err(ValueError::TooDeep) } else { Ok(()) };
        }
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                break;
            }
            self.open.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::value;

    /// Replies of every type, nested.
    const REPLIES: &[&[u8]] = &[
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":12\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"_\r\n",
        b"$0\r\n\r\n",
        b"$5\r\na\r\nbc\r\n",
        b"*0\r\n",
        b"*2\r\n:1\r\n*1\r\n$2\r\nok\r\n",
        b"%2\r\n+a\r\n:1\r\n+b\r\n~2\r\n:1\r\n:2\r\n",
        b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
        b",1.5\r\n",
        b"#t\r\n",
        b"(12345678901234567890\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"!5\r\nERR x\r\n",
        b"%0\r\n",
        b"*3\r\n*0\r\n%0\r\n_\r\n",
    ];

    #[test]
    fn finds_the_end_that_the_decoder_finds_however_it_is_cut() {
        for reply in REPLIES {
            let (value, expect) = value::parse(reply).unwrap().unwrap();
            assert_eq!(expect, reply.len());
            let bytes = [*reply, b"+NEXT\r\n"].concat();
            let mut extent = ReplyExtent::default();
            for cut in 1..reply.len() {
                assert_eq!(extent.end(&bytes[..cut]), Ok(None), "{:?} cut at {cut}", String::from_utf8_lossy(reply));
            }
            assert_eq!(extent.end(&bytes), Ok(Some((reply.len(), values_of(&value)))));
            assert_eq!(extent.end(&bytes[reply.len()..]), Ok(Some((7, 1))));
        }
    }

    /// How many values the decoder finds, aggregates and what is in them.
    fn values_of(value: &value::Value) -> usize {
        use value::Value::{Array, Attribute, Map, Push, Set};
        let of_pairs = |pairs: &[(value::Value, value::Value)]| {
            pairs.iter().map(|(key, value)| values_of(key) + values_of(value)).sum::<usize>()
        };
        1 + match value {
            Array(parts) | Set(parts) | Push(parts) => parts.iter().map(values_of).sum::<usize>(),
            Map(pairs) => of_pairs(pairs),
            Attribute(pairs, value) => of_pairs(pairs) + values_of(value),
            _ => 0,
        }
    }

    /// A reply that is not kept ends where it does if it is.
    #[test]
    fn what_was_looked_through_can_be_dropped() {
        for reply in REPLIES {
            let (mut extent, mut kept, mut dropped) = (ReplyExtent::default(), Vec::new(), 0);
            for (at, byte) in reply.iter().enumerate() {
                kept.push(*byte);
                let end = extent.end(&kept).unwrap();
                assert_eq!(end.map(|(end, _)| dropped + end), (at + 1 == reply.len()).then_some(reply.len()));
                if end.is_none() {
                    let passed = extent.pass(kept.len());
                    kept.drain(..passed);
                    dropped += passed;
                }
            }
            assert!(kept.len() < reply.len() || dropped == 0);
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        let of = |bytes: &[u8]| ReplyExtent::default().end(bytes);
        assert_eq!(of(b"?x\r\n"), Err(ValueError::UnknownType(b'?')));
        assert_eq!(of(b"*x\r\n"), Err(ValueError::InvalidNumber));
        assert_eq!(of(b"$-2\r\n"), Err(ValueError::InvalidNumber));
        assert_eq!(of(b"+a\rb"), Err(ValueError::InvalidLine));
        assert_eq!(of(b"\r\n"), Err(ValueError::InvalidLine));
        assert_eq!(of(&b"*1\r\n".repeat(DEPTH_MAX + 1)), Err(ValueError::TooDeep));
        assert_eq!(of(&vec![b'+'; LINE_BYTES_MAX + 2]), Err(ValueError::InvalidLine));
        assert_eq!(of(format!("%{}\r\n", usize::MAX).as_bytes()), Err(ValueError::InvalidNumber));
    }

    proptest! {
        /// No input makes it panic, and it agrees with the decoder where that accepts.
        #[test]
        fn agrees_with_the_decoder(bytes in proptest::collection::vec(
            prop_oneof![Just(b'*'), Just(b'$'), Just(b'%'), Just(b':'), Just(b'1'), Just(b'2'), Just(b'\r'), Just(b'\n'), any::<u8>()],
            0..40,
        )) {
            if let Ok(Some((_, len))) = value::parse(&bytes) {
                prop_assert_eq!(ReplyExtent::default().end(&bytes).map(|end| end.map(|(len, _)| len)), Ok(Some(len)));
            } else {
                let _ = ReplyExtent::default().end(&bytes);
            }
        }
    }
}
