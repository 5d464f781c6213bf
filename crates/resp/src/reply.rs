//! Writes replies into one growing buffer, each type as Valkey writes it for the connection's protocol version.
//!
//! The caller must write as many elements as it has announced: n replies after `array(n)`, n pairs after `map(n)`. Line
//! ends in simple and error replies are replaced by blanks, so that no argument can forge a second reply.

use std::sync::Arc;

use crate::double;
use crate::shared_buf::SharedBuf;

/// The protocol version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// The version until HELLO selects another.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

impl Protocol {
    /// The number in HELLO: 2 or 3.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        }
    }
}

/// Buffer of replies that wait to be sent, in order.
#[derive(Debug, Default)]
pub struct ReplyBuf {
    /// The bytes written so far.
    buf: SharedBuf,
    /// The protocol version in which replies are written.
    pub protocol: Protocol,
    /// Replies are written so that they can be rewritten for either version: as in RESP3, with null arrays.
    recording: bool,
}

/// A position whose length is written later; see [`ReplyBuf::defer`].
#[derive(Debug)]
#[must_use]
pub struct Deferred {
    at: usize,
}

impl ReplyBuf {
    /// An empty buffer.
    #[must_use]
    pub fn new(protocol: Protocol) -> ReplyBuf {
        ReplyBuf { buf: SharedBuf::default(), protocol, recording: false }
    }

    /// An empty buffer whose replies can be parsed and written for either version of the protocol
    /// ([`crate::value`]), whichever its own is.
    #[must_use]
    pub fn recording(protocol: Protocol) -> ReplyBuf {
        ReplyBuf { recording: true, ..ReplyBuf::new(protocol) }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Drops everything after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.buf.truncate_to(len);
    }

    /// The bytes written so far.
    #[inline]
    #[must_use]
    pub fn buf(&self) -> &SharedBuf {
        &self.buf
    }

    /// The bytes written so far, for sending or shortening.
    #[inline]
    pub fn buf_mut(&mut self) -> &mut SharedBuf {
        &mut self.buf
    }

    /// The bytes written so far, as one contiguous copy.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.buf.to_vec()
    }

    /// Reserves space for about `bytes` bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.own().reserve(bytes);
    }

    #[inline]
    fn own(&mut self) -> &mut Vec<u8> {
        self.buf.own()
    }

    fn is_resp3(&self) -> bool {
        self.recording || self.protocol == Protocol::Resp3
    }

    fn header(&mut self, kind: u8, number: usize) {
        self.own().push(kind);
        self.own().extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.own().extend_from_slice(b"\r\n");
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.own().push(kind);
        self.own().extend(text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
        self.own().extend_from_slice(b"\r\n");
    }

    /// Appends bytes that are encoded already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.own().extend_from_slice(bytes);
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.own().extend_from_slice(b"+OK\r\n");
    }

    /// A simple string.
    pub fn simple(&mut self, text: impl AsRef<[u8]>) {
        self.line(b'+', text.as_ref());
    }

    /// An error, its code first: `ERR syntax error`.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        self.line(b'-', text.as_ref());
    }

    /// A whole number.
    pub fn integer(&mut self, number: i64) {
        self.own().push(b':');
        self.own().extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.own().extend_from_slice(b"\r\n");
    }

    /// A bulk string.
    pub fn bulk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.own().reserve(bytes.len() + 16);
        self.header(b'$', bytes.len());
        self.own().extend_from_slice(bytes);
        self.own().extend_from_slice(b"\r\n");
    }

    /// A bulk string whose bytes are shared with their other owners.
    pub fn bulk_shared(&mut self, bytes: &Arc<Vec<u8>>) {
        self.header(b'$', bytes.len());
        self.buf.push_shared(bytes);
        self.own().extend_from_slice(b"\r\n");
    }

    /// An integer as a bulk string.
    pub fn bulk_integer(&mut self, number: i64) {
        self.bulk(itoa::Buffer::new().format(number));
    }

    /// No value (in RESP2 a missing bulk string).
    pub fn null(&mut self) {
        let text: &[u8] = if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" };
        self.own().extend_from_slice(text);
    }

    /// No array (the same as [`ReplyBuf::null`] in RESP3).
    pub fn null_array(&mut self) {
        let text: &[u8] = if self.is_resp3() && !self.recording { b"_\r\n" } else { b"*-1\r\n" };
        self.own().extend_from_slice(text);
    }

    /// `len` replies follow.
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len);
    }

    /// `pairs` keys follow, each with its value; an array of both in RESP2.
    pub fn map(&mut self, pairs: usize) {
        if self.is_resp3() { self.header(b'%', pairs) } else { self.header(b'*', pairs * 2) }
    }

    /// `len` members follow; an array in RESP2.
    pub fn set(&mut self, len: usize) {
        self.header(if self.is_resp3() { b'~' } else { b'*' }, len);
    }

    /// A push message of `len` replies follows, which answers no command; an array in RESP2.
    pub fn push(&mut self, len: usize) {
        self.header(if self.is_resp3() { b'>' } else { b'*' }, len);
    }

    /// An attribute of `pairs` pairs follows, about the reply after it. RESP2 has no attributes: `false` is returned,
    /// and the caller omits the pairs.
    #[must_use]
    pub fn attribute(&mut self, pairs: usize) -> bool {
        if self.is_resp3() {
            self.header(b'|', pairs);
        }
        self.is_resp3()
    }

    /// A floating point number; a bulk string in RESP2.
    pub fn double(&mut self, number: f64) {
        if self.is_resp3() {
            self.own().push(b',');
            double::write(number, self.own());
            self.own().extend_from_slice(b"\r\n");
        } else {
            let mut text = Vec::with_capacity(24);
            double::write(number, &mut text);
            self.bulk(&text);
        }
    }

    /// A floating point number in a text form of the caller's; a bulk string in RESP2. A recorded reply keeps the
    /// number, not the form.
    pub fn double_text(&mut self, number: &str) {
        if self.is_resp3() { self.line(b',', number.as_bytes()) } else { self.bulk(number) }
    }

    /// A boolean; 1 or 0 in RESP2.
    pub fn bool(&mut self, yes: bool) {
        let text: &[u8] = match (self.is_resp3(), yes) {
            (true, true) => b"#t\r\n",
            (true, false) => b"#f\r\n",
            (false, true) => b":1\r\n",
            (false, false) => b":0\r\n",
        };
        self.own().extend_from_slice(text);
    }

    /// An integer of any size, in decimal; a bulk string in RESP2.
    pub fn big_number(&mut self, digits: &str) {
        if self.is_resp3() { self.line(b'(', digits.as_bytes()) } else { self.bulk(digits) }
    }

    /// A text with a three-letter format (`txt`, `mkd`); a bulk string in RESP2.
    pub fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        if !self.is_resp3() {
            return self.bulk(text);
        }
        self.header(b'=', text.len() + 4);
        self.own().extend_from_slice(&format);
        self.own().push(b':');
        self.own().extend_from_slice(text);
        self.own().extend_from_slice(b"\r\n");
    }

    /// Marks the position of an array, set or map whose length is known only after its members are written.
    pub fn defer(&mut self) -> Deferred {
        Deferred { at: self.buf.own_len() }
    }

    /// Turns everything written since `place` into an array of `len` replies.
    pub fn finish_array(&mut self, place: Deferred, len: usize) {
        self.insert_header(place, |reply| reply.array(len));
    }

    /// Turns everything written since `place` into a set of `len` members.
    pub fn finish_set(&mut self, place: Deferred, len: usize) {
        self.insert_header(place, |reply| reply.set(len));
    }

    /// Turns everything written since `place` into a map of `pairs` pairs.
    pub fn finish_map(&mut self, place: Deferred, pairs: usize) {
        self.insert_header(place, |reply| reply.map(pairs));
    }

    fn insert_header(&mut self, place: Deferred, write: impl FnOnce(&mut ReplyBuf)) {
        let mut header = ReplyBuf { recording: self.recording, ..ReplyBuf::new(self.protocol) };
        write(&mut header);
        self.buf.insert_own(place.at, |own| own.extend_from_slice(header.buf.piece_at(0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(write: impl Fn(&mut ReplyBuf)) -> (String, String) {
        let mut texts = [Protocol::Resp2, Protocol::Resp3].map(|protocol| {
            let mut reply = ReplyBuf::new(protocol);
            write(&mut reply);
            String::from_utf8(reply.to_vec()).unwrap()
        });
        (std::mem::take(&mut texts[0]), std::mem::take(&mut texts[1]))
    }

    #[track_caller]
    fn check(write: impl Fn(&mut ReplyBuf), resp2: &str, resp3: &str) {
        assert_eq!(both(write), (resp2.to_owned(), resp3.to_owned()));
    }

    #[test]
    fn every_type_per_protocol() {
        check(|r| r.simple("PONG"), "+PONG\r\n", "+PONG\r\n");
        check(|r| r.integer(-7), ":-7\r\n", ":-7\r\n");
        check(|r| r.bulk("a\r\nb"), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n");
        check(ReplyBuf::null, "$-1\r\n", "_\r\n");
        check(ReplyBuf::null_array, "*-1\r\n", "_\r\n");
        check(|r| r.array(2), "*2\r\n", "*2\r\n");
        check(|r| r.map(2), "*4\r\n", "%2\r\n");
        check(|r| r.set(2), "*2\r\n", "~2\r\n");
        check(|r| r.push(2), "*2\r\n", ">2\r\n");
        check(|r| r.bool(true), ":1\r\n", "#t\r\n");
        check(|r| r.bool(false), ":0\r\n", "#f\r\n");
        check(|r| r.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n");
        check(|r| r.double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n");
        check(|r| r.double_text("1.50"), "$4\r\n1.50\r\n", ",1.50\r\n");
        check(|r| r.big_number("123"), "$3\r\n123\r\n", "(123\r\n");
        check(|r| r.verbatim(*b"txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
        check(|r| assert_eq!(r.attribute(1), r.is_resp3()), "", "|1\r\n");
    }

    #[test]
    fn a_recorded_reply_is_written_for_either_version() {
        let write = |r: &mut ReplyBuf| {
            let place = r.defer();
            r.null();
            r.null_array();
            r.bool(true);
            r.double(1.5);
            r.map(1);
            r.bulk("a");
            r.big_number("12");
            r.set(1);
            r.verbatim(*b"txt", b"b");
            r.error("ERR c");
            r.finish_array(place, 7);
        };
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let (mut plain, mut recording) = (ReplyBuf::new(protocol), ReplyBuf::recording(Protocol::Resp2));
            write(&mut plain);
            write(&mut recording);
            let (value, _) = crate::value::parse(&recording.to_vec()).unwrap().unwrap();
            let mut again = ReplyBuf::new(protocol);
            value.encode(&mut again);
            assert_eq!(again.to_vec(), plain.to_vec());
        }
    }

    #[test]
    fn a_text_cannot_forge_a_reply() {
        check(|r| r.error("ERR a\r\n+OK"), "-ERR a  +OK\r\n", "-ERR a  +OK\r\n");
    }

    #[test]
    fn a_deferred_length_goes_before_its_members() {
        let write = |r: &mut ReplyBuf| {
            r.ok();
            let place = r.defer();
            r.integer(1);
            r.integer(2);
            r.finish_map(place, 1);
        };
        check(write, "+OK\r\n*2\r\n:1\r\n:2\r\n", "+OK\r\n%1\r\n:1\r\n:2\r\n");
    }
}
