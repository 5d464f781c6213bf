//! Requests and replies of the protocol.

use fastness_resp::request::{self, ArgSpans, HEAP_BYTES_KEPT, Limits, Parsed, ProtocolError};
use fastness_resp::value::Value;
use fastness_resp::{Protocol, ReplyBuf, ReplyExtent, value};

use super::input::{hash, inputs, linear, words};
use crate::Target;

pub(super) const REQUEST: Target = Target {
    name: "resp-request",
    what: "requests: the split into reads does not matter, parsing resumes where it may, memory follows what was \
           received, a command is written and read back as itself",
    bytes_max: 512,
    share: 90,
    seeds: request_seeds,
    words: || {
        words(&[
            "*1\r\n",
            "$3\r\nGET\r\n",
            "$1\r\nk\r\n",
            "|1\r\n",
            "\r\n",
            "\"\\x41\"",
            "'a'",
            "*-1\r\n",
            "$0\r\n\r\n",
        ])
    },
    memory: linear,
    run: request,
};

pub(super) const REPLY: Target = Target {
    name: "resp-reply",
    what: "replies: both readers agree wherever the bytes are cut, and a reply is written as one reply in either protocol",
    bytes_max: 512,
    share: 90,
    seeds: reply_seeds,
    words: || {
        words(&[
            "*2\r\n",
            "%1\r\n",
            "~1\r\n",
            "|1\r\n",
            "$1\r\na\r\n",
            ":1\r\n",
            "_\r\n",
            "#t\r\n",
            ",1.5\r\n",
            "=5\r\ntxt:a\r\n",
            "!1\r\nE\r\n",
            "(1\r\n",
            "$-1\r\n",
            "*-1\r\n",
        ])
    },
    memory: |length| 64 * linear(length),
    run: reply,
};

fn request_seeds() -> Vec<Vec<u8>> {
    let mut seeds = inputs(&[
        b"\0*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        b"\0PING\r\nSET \"a b\" 'c\\'d'\r\nSET \"\\x00\\n\" x\n\r\n",
        b"\x01*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$16384\r\n",
        b"\0|1\r\n$10\r\ndurability\r\n$4\r\nsync\r\n*1\r\n$4\r\nPING\r\n",
        b"\0*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n",
        b"\x01*11\r\n",
        b"\0*2147483647\r\n$536870912\r\n",
    ]);
    let long = vec![b'x'; 100];
    let mut stream = vec![0];
    request::encode(&[b"HSET".as_slice(), b"h", b"f", &long], &mut stream);
    request::encode_attribute(&[("reads", "quorum"), ("", "")], &mut stream);
    request::encode(&[b"MGET".as_slice(), b"", b"\r\n", b"$1"], &mut stream);
    seeds.push(stream);
    seeds
}

/// The arguments of a command, and the attribute before it.
type Request = (Vec<Vec<u8>>, Vec<Vec<u8>>);

/// The commands of a stream, with the attribute before each, and the error that ended it.
#[derive(Debug, PartialEq)]
struct Parses {
    commands: Vec<Request>,
    consumed: usize,
    error: Option<ProtocolError>,
}

fn parse_all(stream: &[u8], limits: &Limits, ends: impl IntoIterator<Item = usize>) -> Parses {
    let (mut spans, mut parses) = (ArgSpans::new(), Parses { commands: Vec::new(), consumed: 0, error: None });
    let mut needed_before = 0;
    for end in ends {
        loop {
            let buffer = &stream[parses.consumed..end];
            let parsed = request::parse(buffer, &mut spans, limits);
            assert!(spans.heap_bytes() <= 64 * (buffer.len() + 1) + HEAP_BYTES_KEPT, "memory follows the bytes");
            match parsed {
                Ok(Parsed::Complete { consumed }) => {
                    assert!(consumed >= needed_before, "complete before the announced length");
                    assert!(consumed > 0 && consumed <= buffer.len(), "{consumed} of {}", buffer.len());
                    let args = spans.args(buffer);
                    assert_eq!(spans.is_empty(), args.is_empty());
                    let attribute = spans.attribute(buffer).map(|args| args.to_owned_args()).unwrap_or_default();
                    parses.commands.push((args.to_owned_args(), attribute));
                    parses.consumed += consumed;
                    needed_before = 0;
                }
                Ok(Parsed::Incomplete { needed }) => {
                    assert!(needed > buffer.len(), "{needed} are needed of {}", buffer.len());
                    needed_before = needed;
                    break;
                }
                Err(error) => {
                    assert!(error.text().len() < 128);
                    parses.error = Some(error);
                    return parses;
                }
            }
        }
    }
    parses
}

fn request(input: &[u8]) -> bool {
    let Some((first, stream)) = input.split_first() else { return false };
    let limits = if first & 1 == 0 { Limits::DEFAULT } else { Limits::UNAUTHENTICATED };
    let whole = parse_all(stream, &limits, [stream.len()]);
    let mut cuts: Vec<usize> = if stream.len() <= 48 {
        (1..=stream.len()).collect()
    } else {
        (0..6).map(|number| (hash(input) >> (9 * number)) as usize % (stream.len() + 1)).chain([stream.len()]).collect()
    };
    cuts.sort_unstable();
    assert_eq!(parse_all(stream, &limits, cuts), whole, "the split into reads matters");
    for (args, attribute) in whole.commands.iter().filter(|(args, _)| !args.is_empty()) {
        let mut again = Vec::new();
        if !attribute.is_empty() {
            let pairs: Vec<_> = attribute.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
            request::encode_attribute(&pairs, &mut again);
        }
        request::encode(args, &mut again);
        let read = parse_all(&again, &Limits::DEFAULT, [again.len()]);
        assert_eq!(read.commands, [(args.clone(), attribute.clone())], "a command is read as it was written");
        assert_eq!(read.consumed, again.len());
    }
    whole.error.is_none() && !whole.commands.is_empty()
}

fn reply_seeds() -> Vec<Vec<u8>> {
    inputs(&[
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":12\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"$5\r\na\r\nbc\r\n",
        b"*2\r\n:1\r\n*1\r\n$2\r\nok\r\n",
        b"%2\r\n+a\r\n:1\r\n+b\r\n~2\r\n:1\r\n:2\r\n",
        b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
        b",1.5\r\n",
        b",inf\r\n",
        b",nan\r\n",
        b"#t\r\n",
        b"(12345678901234567890\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"!5\r\nERR x\r\n",
        b">2\r\n+a\r\n_\r\n",
        b"*3\r\n*0\r\n%0\r\n_\r\n",
        b"*1000000000\r\n:1\r\n",
    ])
}

fn encoded(value: &Value, protocol: Protocol) -> Vec<u8> {
    let mut reply = ReplyBuf::new(protocol);
    value.encode(&mut reply);
    reply.to_vec()
}

/// A value is written as one reply, which is written as the same bytes again.
fn settles(value: &Value, protocol: Protocol) {
    let written = encoded(value, protocol);
    let Ok(Some((read, length))) = value::parse(&written) else { panic!("{:?} is no reply", written.escape_ascii()) };
    assert_eq!(length, written.len(), "one reply is written as one: {:?}", written.escape_ascii().to_string());
    assert_eq!(encoded(&read, protocol), written, "a reply is read as it was written");
}

fn reply(input: &[u8]) -> bool {
    let parsed = value::parse(input);
    let mut extent = ReplyExtent::default();
    let end = extent.end(input);
    let Ok(Some((value, length))) = parsed else {
        if parsed == Ok(None) {
            assert!(!matches!(end, Ok(Some(_))), "a reply ends that is not complete");
        }
        return false;
    };
    assert!(length <= input.len());
    assert_eq!(end.map(|end| end.map(|(end, _)| end)), Ok(Some(length)), "both readers find the same end");
    // Byte by byte, what was passed is dropped.
    let (mut extent, mut dropped) = (ReplyExtent::default(), 0);
    for received in 1..=length {
        let end = extent.end(&input[dropped..received]).expect("the whole reply is one");
        assert_eq!(end.map(|(end, _)| dropped + end), (received == length).then_some(length), "cut at {received}");
        if end.is_none() {
            assert_eq!(value::parse(&input[..received]), Ok(None), "cut at {received}");
            dropped += extent.pass(received - dropped);
        }
    }
    settles(&value, Protocol::Resp2);
    settles(&value, Protocol::Resp3);
    true
}
