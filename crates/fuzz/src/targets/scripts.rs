//! What scripts decode with the libraries of Lua.

use fastness_scripts::fuzzing;

use super::input::{inputs, words};
use crate::Target;

/// Memory of a Lua state and of the values of an input: a table takes some hundred bytes, twice while it grows.
const MEMORY: fn(usize) -> usize = |length| (8 << 20) + 4096 * length;

pub(super) const JSON: Target = Target {
    name: "script-json",
    what: "cjson.decode: a value or an error; what was encoded is decoded as itself",
    bytes_max: 512,
    share: 60,
    seeds: || {
        inputs(&[
            b"{\"a\":[1,2.5,-3e7,null,true,{\"b\":\"\\u00e9\\ud83d\\ude00\\n\"}]}",
            b"[[[[]]]]",
            b"[0x1F,-Infinity,nan,1.,.5]",
            b"\"unfinished \\u12",
        ])
    },
    words: || words(&["{\"", "\":", "[", "]", "}", "\\u", "\\ud83d", "null", "true", "1e308", "0x", "inf", ","]),
    memory: MEMORY,
    run: fuzzing::json,
};

pub(super) const MESSAGE_PACK: Target = Target {
    name: "script-msgpack",
    what: "cmsgpack.unpack: values or an error; what was packed is unpacked as itself",
    bytes_max: 512,
    share: 60,
    seeds: || {
        inputs(&[
            b"\x93\x01\xa1x\x81\xa1a\xc0",
            b"\xdc\x00\x03\xc2\xc3\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00",
            b"\xdd\xff\xff\xff\xff\x01",
            b"\xdb\xff\xff\xff\xffabc",
            b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
        ])
    },
    words: || words(&["\u{1}", "x"]),
    memory: MEMORY,
    run: fuzzing::message_pack,
};

pub(super) const STRUCTURE: Target = Target {
    name: "script-struct",
    what: "struct.unpack: values or an error, for any format and data",
    bytes_max: 128,
    share: 60,
    seeds: || {
        inputs(&[b">I2<i4bB\0abcdefgh", b"!8bds\0a\0\0\0\0\0\0\0abcdefghxyz\0", b"Bc0\0\x03abc", b"i99999999999\0a"])
    },
    words: || words(&["i16", "I32", "c0", "s", "!4", ">", "<", "d", "f", "L", "2147483647"]),
    memory: MEMORY,
    run: |input| {
        let at = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
        fuzzing::structure(&input[..at], input.get(at + 1..).unwrap_or_default())
    },
};

pub(super) const PATTERN: Target = Target {
    name: "script-pattern",
    what: "string.find: finds what Lua's own function finds",
    bytes_max: 32,
    share: 100,
    seeds: || {
        inputs(&[
            b"\x08(%w+)=%1key=key",
            b"\x05.-(x)aaxa",
            b"\x06%f[%a]%b()",
            b"\x06[^%d-]]a-1]",
            b"\x04a*?$aaa",
            b"\x05()a()bab",
        ])
    },
    words: || words(&["%w", "%b", "%f[", "[^", "]", "(", ")", "-", "*", "%1", "^", "$", "%z"]),
    memory: MEMORY,
    run: |input| {
        let Some((length, rest)) = input.split_first() else { return false };
        let (pattern, text) = rest.split_at(usize::from(*length).min(rest.len()));
        fuzzing::pattern(pattern, text)
    },
};
