//! JSON as Lua values.

use mlua::{Lua, Table, Value};

use super::number;
use super::settings::{DECODED_DEPTH_MAX, Settings};
use crate::coroutine::Link;
use crate::sandbox::native::{Raise, text};

/// One token of a JSON text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// `{`
    ObjectBegin,
    /// `}`
    ObjectEnd,
    /// `[`
    ArrayBegin,
    /// `]`
    ArrayEnd,
    /// A string, without its escapes.
    String(Vec<u8>),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// `null`
    Null,
    /// `:`
    Colon,
    /// `,`
    Comma,
    /// The end of the text, or a NUL.
    End,
    /// What is no token, and why.
    Error(&'static str),
}

impl Token {
    /// Its name in error messages.
    fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(reason) => reason,
        }
    }
}

/// Reads the tokens of a text.
pub(crate) struct Tokens<'a> {
    data: &'a [u8],
    at: usize,
    /// Where the last token starts, or what is wrong is.
    start: usize,
    allows_invalid_numbers: bool,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(data: &'a [u8], allows_invalid_numbers: bool) -> Tokens<'a> {
        Tokens { data, at: 0, start: 0, allows_invalid_numbers }
    }

    /// The byte at a position; NUL behind the end.
    fn byte(&self, at: usize) -> u8 {
        self.data.get(at).copied().unwrap_or(0)
    }

    fn rest(&self) -> &'a [u8] {
        &self.data[self.at.min(self.data.len())..]
    }

    fn error(&mut self, reason: &'static str) -> Token {
        self.start = self.at;
        Token::Error(reason)
    }

    fn take(&mut self, length: usize, token: Token) -> Token {
        self.at += length;
        token
    }

    /// The next token. An error or the end is not passed.
    pub(crate) fn next(&mut self) -> Token {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.start = self.at;
        match self.byte(self.at) {
            0 => Token::End,
            b'{' => self.take(1, Token::ObjectBegin),
            b'}' => self.take(1, Token::ObjectEnd),
            b'[' => self.take(1, Token::ArrayBegin),
            b']' => self.take(1, Token::ArrayEnd),
            b':' => self.take(1, Token::Colon),
            b',' => self.take(1, Token::Comma),
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => {
                if !self.allows_invalid_numbers && self.is_invalid_number() {
                    return self.error("invalid number");
                }
                self.number()
            }
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+' => self.word(),
            _ => self.error("invalid token"),
        }
    }

    fn word(&mut self) -> Token {
        let rest = self.rest();
        if rest.starts_with(b"true") {
            self.take(4, Token::Boolean(true))
        } else if rest.starts_with(b"false") {
            self.take(5, Token::Boolean(false))
        } else if rest.starts_with(b"null") {
            self.take(4, Token::Null)
        } else if self.allows_invalid_numbers && self.is_invalid_number() {
            self.number()
        } else {
            self.error("invalid token")
        }
    }

    fn number(&mut self) -> Token {
        match number::read(self.rest()) {
            Some((number, length)) => self.take(length, Token::Number(number)),
            None => self.error("invalid number"),
        }
    }

    /// Whether what comes is a number for C but not for JSON.
    fn is_invalid_number(&self) -> bool {
        if self.byte(self.at) == b'+' {
            return true;
        }
        let at = self.at + usize::from(self.byte(self.at) == b'-');
        if self.byte(at) == b'0' {
            let second = self.byte(at + 1);
            return second | 0x20 == b'x' || second.is_ascii_digit();
        }
        let word = self.data.get(at..at + 3).unwrap_or_default();
        self.byte(at) > b'9' && (word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan"))
    }

    fn string(&mut self) -> Token {
        self.at += 1;
        let mut string = Vec::new();
        loop {
            let plain = self.rest().iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0)).count();
            string.extend_from_slice(&self.rest()[..plain]);
            self.at += plain;
            match self.byte(self.at) {
                b'"' => return self.take(1, Token::String(string)),
                0 => return self.error("unexpected end of string"),
                _ => {}
            }
            let escaped = match self.byte(self.at + 1) {
                byte @ (b'"' | b'\\' | b'/') => byte,
                b'b' => 0x08,
                b't' => b'\t',
                b'n' => b'\n',
                b'f' => 0x0c,
                b'r' => b'\r',
                b'u' => match self.unicode(&mut string) {
                    Some(length) => {
                        self.at += length;
                        continue;
                    }
                    None => return self.error("invalid unicode escape code"),
                },
                _ => return self.error("invalid escape code"),
            };
            string.push(escaped);
            self.at += 2;
        }
    }

    /// The four hex digits at a position.
    fn hex(&self, at: usize) -> Option<u32> {
        (0..4).try_fold(0, |sum, i| Some(sum << 4 | char::from(self.byte(at + i)).to_digit(16)?))
    }

    /// Appends the character of a `\u` escape in UTF-8; its length. Half a pair is encoded like any other number,
    /// except for those that start or end a pair.
    fn unicode(&self, out: &mut Vec<u8>) -> Option<usize> {
        let mut point = self.hex(self.at + 2)?;
        let mut length = 6;
        if point & 0xf800 == 0xd800 {
            if point & 0x400 != 0 || self.byte(self.at + 6) != b'\\' || self.byte(self.at + 7) != b'u' {
                return None;
            }
            let low = self.hex(self.at + 8)?;
            if low & 0xfc00 != 0xdc00 {
                return None;
            }
            point = ((point & 0x3ff) << 10 | low & 0x3ff) + 0x1_0000;
            length = 12;
        }
        let character = char::from_u32(point)?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Some(length)
    }

    fn expected<T>(&self, what: &str, found: &Token) -> Result<T, Raise> {
        text(format!("Expected {what} but found {} at character {}", found.name(), self.start + 1))
    }
}

/// An array or object that is being filled.
struct OpenValue {
    table: Table,
    /// The name that waits for its value; `None` in arrays.
    name: Option<Vec<u8>>,
    filled: usize,
}

impl OpenValue {
    fn add(&mut self, lua: &Lua, value: Value) -> mlua::Result<()> {
        match self.name.take() {
            Some(name) => self.table.raw_set(lua.create_string(name)?, value),
            None => {
                self.filled += 1;
                self.table.raw_set(self.filled, value)
            }
        }
    }
}

/// The value of a JSON text.
pub(super) fn decode(lua: &Lua, settings: &Settings, link: &Link, data: &[u8]) -> Result<Value, Raise> {
    if data.len() >= 2 && (data[0] == 0 || data[1] == 0) {
        return text("JSON parser does not support UTF-16 or UTF-32");
    }
    let mut decoder = Decoder {
        lua,
        link,
        tokens: Tokens::new(data, settings.decode_invalid.get()),
        depth_max: usize::try_from(settings.decode_depth.get()).unwrap_or(0).min(DECODED_DEPTH_MAX),
        open: Vec::new(),
    };
    let value = decoder.value()?;
    match decoder.tokens.next() {
        Token::End => Ok(value),
        token => decoder.tokens.expected("the end", &token),
    }
}

struct Decoder<'a> {
    lua: &'a Lua,
    link: &'a Link,
    tokens: Tokens<'a>,
    depth_max: usize,
    open: Vec<OpenValue>,
}

impl Decoder<'_> {
    /// Reads one value with all that is in it.
    fn value(&mut self) -> Result<Value, Raise> {
        let mut token = self.tokens.next();
        loop {
            self.link.work(1)?;
            let value = match token {
                Token::String(string) => Value::String(self.lua.create_string(string)?),
                Token::Number(number) => Value::Number(number),
                Token::Boolean(yes) => Value::Boolean(yes),
                Token::Null => Value::NULL,
                Token::ObjectBegin | Token::ArrayBegin => match self.begin(token == Token::ObjectBegin)? {
                    Begun::Empty(value) => value,
                    Begun::First(first) => {
                        token = first;
                        continue;
                    }
                },
                token => return self.tokens.expected("value", &token),
            };
            match self.add(value)? {
                Begun::Empty(value) => return Ok(value),
                Begun::First(next) => token = next,
            }
        }
    }

    fn begin(&mut self, is_object: bool) -> Result<Begun, Raise> {
        let depth = self.open.len() + 1;
        if depth > self.depth_max {
            let at = self.tokens.at;
            return text(format!("Found too many nested data structures ({depth}) at character {at}"));
        }
        let table = self.lua.create_table()?;
        let token = self.tokens.next();
        if token == if is_object { Token::ObjectEnd } else { Token::ArrayEnd } {
            return Ok(Begun::Empty(Value::Table(table)));
        }
        self.open.push(OpenValue { table, name: None, filled: 0 });
        if is_object { self.name(token).map(Begun::First) } else { Ok(Begun::First(token)) }
    }

    /// Reads the colon after a name; the token of its value.
    fn name(&mut self, token: Token) -> Result<Token, Raise> {
        let Token::String(name) = token else { return self.tokens.expected("object key string", &token) };
        match self.tokens.next() {
            Token::Colon => {}
            token => return self.tokens.expected("colon", &token),
        }
        if let Some(top) = self.open.last_mut() {
            top.name = Some(name);
        }
        Ok(self.tokens.next())
    }

    /// Adds a complete value to what is open; the token of the next value, or the outermost value if nothing is open.
    fn add(&mut self, mut value: Value) -> Result<Begun, Raise> {
        loop {
            let Some(top) = self.open.last_mut() else { return Ok(Begun::Empty(value)) };
            let is_object = top.name.is_some();
            top.add(self.lua, value)?;
            match (self.tokens.next(), is_object) {
                (Token::Comma, true) => {
                    let token = self.tokens.next();
                    return self.name(token).map(Begun::First);
                }
                (Token::Comma, false) => return Ok(Begun::First(self.tokens.next())),
                (Token::ObjectEnd, true) | (Token::ArrayEnd, false) => {}
                (token, true) => return self.tokens.expected("comma or object end", &token),
                (token, false) => return self.tokens.expected("comma or array end", &token),
            }
            match self.open.pop() {
                Some(done) => value = Value::Table(done.table),
                None => return Ok(Begun::Empty(Value::Nil)),
            }
        }
    }
}

enum Begun {
    /// A complete value.
    Empty(Value),
    /// The token of the value that comes next.
    First(Token),
}
