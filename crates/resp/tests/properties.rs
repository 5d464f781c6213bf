//! Codecs against arbitrary input: written values read back, no bytes cause a panic, and the split into reads does not
//! matter.

#![allow(clippy::unwrap_used)]

use fastness_resp::request::{self, ArgSpans, Limits, Parsed, ProtocolError};
use fastness_resp::{Protocol, ReplyBuf, Value, value};
use proptest::prelude::*;

type Commands = Vec<Vec<Vec<u8>>>;

/// Parses all commands of a stream that arrives split at `cuts`; returns them and the error that ended it, if any.
fn read_all(stream: &[u8], cuts: &[usize], limits: &Limits) -> (Commands, Option<ProtocolError>) {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).chain([stream.len()]).collect();
    ends.sort_unstable();
    let (mut buffer, mut received, mut commands, mut spans) = (Vec::new(), 0, Vec::new(), ArgSpans::new());
    for end in ends {
        buffer.extend_from_slice(&stream[received..end]);
        received = end;
        loop {
            match request::parse(&buffer, &mut spans, limits) {
                Ok(Parsed::Complete { consumed }) => {
                    commands.push(spans.args(&buffer).to_owned_args());
                    buffer.drain(..consumed);
                }
                Ok(Parsed::Incomplete { needed }) => {
                    assert!(needed > buffer.len());
                    break;
                }
                Err(error) => return (commands, Some(error)),
            }
        }
    }
    (commands, None)
}

fn commands() -> impl Strategy<Value = Commands> {
    let arg = prop::collection::vec(any::<u8>(), 0..40);
    prop::collection::vec(prop::collection::vec(arg, 1..6), 0..6)
}

/// Bytes that look enough like RESP to get past the first checks.
fn nearly_resp() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"*2\r\n".to_vec()),
        Just(b"$3\r\nGET\r\n".to_vec()),
        Just(b"%1\r\n".to_vec()),
        Just(b"|1\r\n".to_vec()),
        Just(b"=5\r\ntxt:a\r\n".to_vec()),
        Just(b",1.5\r\n".to_vec()),
        "[*$+:_#,(=~>%|!-][0-9-]{0,4}(\r\n)?".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..8),
        "[a-z '\"\\\\x0-9]{0,12}\n".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

fn values(protocol: Protocol) -> impl Strategy<Value = Value> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    let text = || "[ -~]{0,20}".prop_map(String::into_bytes);
    let shared = prop_oneof![
        text().prop_map(Value::Simple),
        text().prop_map(Value::Error),
        any::<i64>().prop_map(Value::Integer),
        bytes().prop_map(Value::Bulk),
        Just(Value::Null),
    ];
    let leaf = match protocol {
        Protocol::Resp2 => prop_oneof![3 => shared, 1 => Just(Value::NullArray)].boxed(),
        Protocol::Resp3 => prop_oneof![
            shared,
            any::<f64>().prop_filter("NaN differs from itself", |d| !d.is_nan()).prop_map(Value::Double),
            any::<bool>().prop_map(Value::Bool),
            "-?[1-9][0-9]{0,40}".prop_map(|digits| Value::BigNumber(digits.into_bytes())),
            bytes().prop_map(|text| Value::Verbatim(*b"txt", text)),
        ]
        .boxed(),
    };
    leaf.prop_recursive(3, 30, 5, move |inner| {
        let list = prop::collection::vec(inner.clone(), 0..5);
        let pairs = prop::collection::vec((inner.clone(), inner.clone()), 0..4);
        match protocol {
            Protocol::Resp2 => list.prop_map(Value::Array).boxed(),
            Protocol::Resp3 => prop_oneof![
                list.clone().prop_map(Value::Array),
                list.clone().prop_map(Value::Set),
                list.prop_map(Value::Push),
                pairs.clone().prop_map(Value::Map),
                (pairs, inner).prop_map(|(pairs, value)| Value::Attribute(pairs, Box::new(value))),
            ]
            .boxed(),
        }
    })
}

fn encoded(value: &Value, protocol: Protocol) -> Vec<u8> {
    let mut reply = ReplyBuf::new(protocol);
    value.encode(&mut reply);
    reply.to_vec()
}

proptest! {
    #[test]
    fn requests_read_back(commands in commands(), cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        let mut stream = Vec::new();
        commands.iter().for_each(|command| request::encode(command, &mut stream));
        prop_assert_eq!(read_all(&stream, &cuts, &Limits::DEFAULT), (commands, None));
    }

    #[test]
    fn any_command_may_follow_an_attribute(commands in commands(), marked in any::<u8>(), cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        let mut stream = Vec::new();
        for (i, command) in commands.iter().enumerate() {
            if marked >> (i % 8) & 1 == 1 {
                request::encode_attribute(&[("durability", "sync"), ("", "x")][..1 + i % 2], &mut stream);
            }
            request::encode(command, &mut stream);
        }
        prop_assert_eq!(read_all(&stream, &cuts, &Limits::DEFAULT), (commands, None));
    }

    #[test]
    fn the_split_into_reads_does_not_matter(stream in nearly_resp(), cuts in prop::collection::vec(any::<usize>(), 0..8), known in any::<bool>()) {
        let limits = if known { Limits::DEFAULT } else { Limits::UNAUTHENTICATED };
        prop_assert_eq!(read_all(&stream, &cuts, &limits), read_all(&stream, &[], &limits));
    }

    #[test]
    fn no_bytes_panic(stream in prop::collection::vec(any::<u8>(), 0..200)) {
        read_all(&stream, &[], &Limits::DEFAULT);
        let _ = value::parse(&stream);
    }

    #[test]
    fn bytes_like_a_reply_do_not_panic(stream in nearly_resp()) {
        if let Ok(Some((_, consumed))) = value::parse(&stream) {
            prop_assert!(consumed <= stream.len());
        }
    }

    #[test]
    fn replies_read_back_in_resp2(value in values(Protocol::Resp2)) {
        let bytes = encoded(&value, Protocol::Resp2);
        prop_assert_eq!(value::parse(&bytes), Ok(Some((value, bytes.len()))));
    }

    #[test]
    fn replies_read_back_in_resp3(value in values(Protocol::Resp3)) {
        let bytes = encoded(&value, Protocol::Resp3);
        prop_assert_eq!(value::parse(&bytes), Ok(Some((value, bytes.len()))));
    }

    #[test]
    fn a_cut_reply_is_incomplete(value in values(Protocol::Resp3), cut in any::<usize>()) {
        let bytes = encoded(&value, Protocol::Resp3);
        prop_assert_eq!(value::parse(&bytes[..cut % bytes.len()]), Ok(None));
    }

    #[test]
    fn doubles_read_back(number in any::<f64>()) {
        let mut text = Vec::new();
        fastness_resp::double::write_shortest(number, &mut text);
        let back: f64 = std::str::from_utf8(&text).unwrap().parse().unwrap();
        prop_assert!(back == number || (back.is_nan() && number.is_nan()));
    }
}

#[test]
fn deep_nesting_is_refused() {
    let deep = b"*1\r\n".repeat(value::DEPTH_MAX + 2);
    assert_eq!(value::parse(&deep), Err(value::ValueError::TooDeep));
}
