//! Lua's patterns. Lua's own matcher recurses as deep as the pattern is long, and a match can take time that grows with
//! a power of the text; both happen inside one C function, where no hook runs. This one has a bound on its depth, and
//! counts its steps, so that a run stops for its driver in the middle of a match.

use crate::coroutine::Link;
use crate::sandbox::native::{Raise, text};

/// Most captures of a pattern.
const CAPTURES_MAX: usize = 32;
/// Deepest recursion, about the number of quantifiers and captures that are open at once.
const DEPTH_MAX: usize = 1_000;

/// What a capture has matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capture {
    /// It is not closed yet; it starts here.
    Open(usize),
    /// `()`: a position, counted from 0.
    Position(usize),
    /// These bytes of the text.
    Part(usize, usize),
}

/// A pattern with the text that it is matched against.
pub(crate) struct Matcher<'a> {
    text: &'a [u8],
    pattern: &'a [u8],
    link: &'a Link,
    captures: Vec<Capture>,
    depth: usize,
}

impl<'a> Matcher<'a> {
    /// A pattern, without the `^` that anchors it. It ends at a NUL.
    pub(crate) fn new(text: &'a [u8], pattern: &'a [u8], link: &'a Link) -> Matcher<'a> {
        let end = memchr::memchr(0, pattern).unwrap_or(pattern.len());
        Matcher { text, pattern: &pattern[..end], link, captures: Vec::new(), depth: 0 }
    }

    /// The end of a match that starts at `at`.
    pub(crate) fn match_at(&mut self, at: usize) -> Result<Option<usize>, Raise> {
        self.captures.clear();
        self.depth = 0;
        self.rest(at, 0)
    }

    /// The first match that starts at `at` or after it: where it starts and ends.
    pub(crate) fn search(&mut self, at: usize) -> Result<Option<(usize, usize)>, Raise> {
        for start in at..=self.text.len() {
            if let Some(end) = self.match_at(start)? {
                return Ok(Some((start, end)));
            }
        }
        Ok(None)
    }

    /// The captures of the last match.
    pub(crate) fn captures(&self) -> &[Capture] {
        &self.captures
    }

    /// The byte of the pattern at a position; 0 at its end.
    fn sign(&self, at: usize) -> u8 {
        self.pattern.get(at).copied().unwrap_or(0)
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    /// Matches what comes after a quantifier or capture.
    fn deeper(&mut self, at: usize, p: usize) -> Result<Option<usize>, Raise> {
        if self.depth == DEPTH_MAX {
            return text("pattern too complex");
        }
        self.depth += 1;
        let end = self.rest(at, p);
        self.depth -= 1;
        end
    }

    /// Matches the pattern from `p` on against the text from `at` on.
    fn rest(&mut self, mut at: usize, mut p: usize) -> Result<Option<usize>, Raise> {
        loop {
            self.link.work(1)?;
            match (self.sign(p), self.sign(p + 1)) {
                _ if p == self.pattern.len() => return Ok(Some(at)),
                (b'(', b')') => return self.start_capture(at, p + 2, Capture::Position(at)),
                (b'(', _) => return self.start_capture(at, p + 1, Capture::Open(at)),
                (b')', _) => return self.end_capture(at, p + 1),
                (b'$', _) if p + 1 == self.pattern.len() => return Ok(Some(at).filter(|at| *at == self.text.len())),
                (b'%', b'b') => match self.balance(at, p + 2)? {
                    Some(end) => (at, p) = (end, p + 4),
                    None => return Ok(None),
                },
                (b'%', b'f') => match self.frontier(at, p + 2)? {
                    Some(end) => p = end,
                    None => return Ok(None),
                },
                (b'%', digit @ b'0'..=b'9') => match self.same_as_capture(at, digit)? {
                    Some(end) => (at, p) = (end, p + 2),
                    None => return Ok(None),
                },
                _ => {
                    let end = self.class_end(p)?;
                    let is_match = self.is_single(at, p, end);
                    match self.sign(end) {
                        b'?' => {
                            if is_match && let Some(end) = self.deeper(at + 1, end + 1)? {
                                return Ok(Some(end));
                            }
                            p = end + 1;
                        }
                        b'*' => return self.most(at, p, end),
                        b'+' => return if is_match { self.most(at + 1, p, end) } else { Ok(None) },
                        b'-' => return self.fewest(at, p, end),
                        _ if is_match => (at, p) = (at + 1, end),
                        _ => return Ok(None),
                    }
                }
            }
        }
    }

    /// As many as possible of the class from `p` to `end`.
    fn most(&mut self, at: usize, p: usize, end: usize) -> Result<Option<usize>, Raise> {
        let mut count = 0;
        while self.is_single(at + count, p, end) {
            count += 1;
        }
        self.link.work(count)?;
        loop {
            if let Some(end) = self.deeper(at + count, end + 1)? {
                return Ok(Some(end));
            }
            if count == 0 {
                return Ok(None);
            }
            count -= 1;
        }
    }

    /// As few as possible.
    fn fewest(&mut self, mut at: usize, p: usize, end: usize) -> Result<Option<usize>, Raise> {
        loop {
            if let Some(end) = self.deeper(at, end + 1)? {
                return Ok(Some(end));
            }
            if !self.is_single(at, p, end) {
                return Ok(None);
            }
            at += 1;
        }
    }

    fn start_capture(&mut self, at: usize, p: usize, capture: Capture) -> Result<Option<usize>, Raise> {
        if self.captures.len() == CAPTURES_MAX {
            return text("too many captures");
        }
        let level = self.captures.len();
        self.captures.push(capture);
        let end = self.deeper(at, p)?;
        if end.is_none() {
            self.captures.truncate(level);
        }
        Ok(end)
    }

    fn end_capture(&mut self, at: usize, p: usize) -> Result<Option<usize>, Raise> {
        let open = self.captures.iter().rposition(|capture| matches!(capture, Capture::Open(_)));
        let Some(level) = open else { return text("invalid pattern capture") };
        let before = self.captures[level];
        if let Capture::Open(start) = before {
            self.captures[level] = Capture::Part(start, at);
        }
        let end = self.deeper(at, p)?;
        if end.is_none() {
            self.captures[level] = before;
        }
        Ok(end)
    }

    fn same_as_capture(&self, at: usize, digit: u8) -> Result<Option<usize>, Raise> {
        let level = usize::from(digit).checked_sub(usize::from(b'1'));
        match level.and_then(|level| self.captures.get(level)) {
            Some(Capture::Part(start, end)) => {
                let part = &self.text[*start..*end];
                Ok(self.text[at..].starts_with(part).then_some(at + part.len()))
            }
            // Its length counts as larger than any text.
            Some(Capture::Position(_)) => Ok(None),
            _ => text("invalid capture index"),
        }
    }

    fn balance(&mut self, at: usize, p: usize) -> Result<Option<usize>, Raise> {
        let (open, close) = (self.sign(p), self.sign(p + 1));
        if open == 0 || close == 0 {
            return text("unbalanced pattern");
        }
        if self.byte(at) != open {
            return Ok(None);
        }
        let mut depth = 1_usize;
        for end in at + 1..self.text.len() {
            let byte = self.text[end];
            if byte == close {
                depth -= 1;
                if depth == 0 {
                    self.link.work(end - at)?;
                    return Ok(Some(end + 1));
                }
            } else if byte == open {
                depth += 1;
            }
        }
        self.link.work(self.text.len() - at)?;
        Ok(None)
    }

    /// `%f[set]`: the position in the pattern after it, if the frontier is here.
    fn frontier(&self, at: usize, p: usize) -> Result<Option<usize>, Raise> {
        if self.sign(p) != b'[' {
            return text("missing '[' after '%f' in pattern");
        }
        let end = self.class_end(p)?;
        let before = if at == 0 { 0 } else { self.byte(at - 1) };
        let is_frontier = !self.is_in_set(before, p, end - 1) && self.is_in_set(self.byte(at), p, end - 1);
        Ok(is_frontier.then_some(end))
    }

    /// Where the class that starts at `p` ends.
    fn class_end(&self, p: usize) -> Result<usize, Raise> {
        match self.sign(p) {
            b'%' if p + 1 >= self.pattern.len() => text("malformed pattern (ends with '%')"),
            b'%' => Ok(p + 2),
            b'[' => {
                let mut at = p + 1 + usize::from(self.sign(p + 1) == b'^');
                loop {
                    if at >= self.pattern.len() {
                        return text("malformed pattern (missing ']')");
                    }
                    at += if self.sign(at) == b'%' && at + 1 < self.pattern.len() { 2 } else { 1 };
                    if self.sign(at) == b']' {
                        return Ok(at + 1);
                    }
                }
            }
            _ => Ok(p + 1),
        }
    }

    /// Whether the byte at a position matches the class from `p` to `end`.
    fn is_single(&self, at: usize, p: usize, end: usize) -> bool {
        let Some(&byte) = self.text.get(at) else { return false };
        match self.sign(p) {
            b'.' => true,
            b'%' => is_in_class(byte, self.sign(p + 1)),
            b'[' => self.is_in_set(byte, p, end - 1),
            sign => sign == byte,
        }
    }

    /// Whether a byte is in the set whose `[` is at `p` and whose `]` is at `end`.
    fn is_in_set(&self, byte: u8, p: usize, end: usize) -> bool {
        let is_negated = self.sign(p + 1) == b'^';
        let mut at = p + 1 + usize::from(is_negated);
        while at < end {
            let sign = self.sign(at);
            if sign == b'%' {
                if is_in_class(byte, self.sign(at + 1)) {
                    return !is_negated;
                }
                at += 2;
            } else if self.sign(at + 1) == b'-' && at + 2 < end {
                if (sign..=self.sign(at + 2)).contains(&byte) {
                    return !is_negated;
                }
                at += 3;
            } else {
                if sign == byte {
                    return !is_negated;
                }
                at += 1;
            }
        }
        is_negated
    }
}

/// Whether a byte is in the class of a letter; an upper case letter means all other bytes.
fn is_in_class(byte: u8, class: u8) -> bool {
    let is_in = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => matches!(byte, b' ' | b'\t'..=b'\r'),
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    is_in != class.is_ascii_uppercase()
}
