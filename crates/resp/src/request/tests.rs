#![allow(clippy::unwrap_used)]

use super::*;

/// Parses one complete command; returns its arguments and the bytes after it.
fn whole(input: &[u8]) -> Result<(Vec<Vec<u8>>, Vec<u8>), ProtocolError> {
    let mut spans = ArgSpans::new();
    match parse(input, &mut spans, &Limits::DEFAULT)? {
        Parsed::Complete { consumed } => Ok((spans.args(input).to_owned_args(), input[consumed..].to_vec())),
        Parsed::Incomplete { needed } => panic!("incomplete, needs {needed}: {}", input.escape_ascii()),
    }
}

#[track_caller]
fn check(input: &[u8], expect: &[&[u8]]) {
    let (args, rest) = whole(input).unwrap();
    assert_eq!(args, expect, "{}", input.escape_ascii());
    assert!(rest.is_empty());
}

#[track_caller]
fn check_error(input: &[u8], expect: ProtocolError) {
    assert_eq!(whole(input), Err(expect), "{}", input[..input.len().min(80)].escape_ascii());
}

#[test]
fn multibulk() {
    check(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", &[b"GET", b"k"]);
    check(b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", &[b"GET", b""]);
    check(b"*1\r\n$12\r\nabcdefghi\r\nj\r\n", &[b"abcdefghi\r\nj"]);
    check(b"*0\r\n", &[]);
    check(b"*-1\r\n", &[]);
    assert_eq!(whole(b"*1\r\n$4\r\nPING\r\n*1").unwrap().1, b"*1");
}

#[test]
fn inline() {
    check(b"PING\r\n", &[b"PING"]);
    check(b"  set  k\tv \n", &[b"set", b"k", b"v"]);
    check(b"\r\n", &[]);
    check(
        br#"set k "a \"b\" \x41\n\q""#.iter().copied().chain(*b"\n").collect::<Vec<_>>().as_slice(),
        &[b"set", b"k", b"a \"b\" A\nq"],
    );
    check(b"set k 'it\\'s \\n' \"\"\n", &[b"set", b"k", b"it's \\n", b""]);
    check(b"a\"b\" c\n", &[b"ab", b"c"]);
    for bad in [&b"set \"k\n"[..], b"set 'k\n", b"\"a\"b\n", b"'a'b\n", b"\"a\\\n"] {
        check_error(bad, ProtocolError::UnbalancedQuotes);
    }
}

#[test]
fn limits() {
    check_error(b"*a\r\n", ProtocolError::InvalidCount);
    check_error(b"*2147483648\r\n", ProtocolError::InvalidCount);
    check_error(b"*01\r\n", ProtocolError::InvalidCount);
    check_error(b"*99999999999999999999\r\n", ProtocolError::InvalidCount);
    check_error(b"*1\r\nPING\r\n", ProtocolError::ExpectedBulk(b'P'));
    check_error(b"*1\r\n$-1\r\n", ProtocolError::InvalidLength);
    check_error(b"*1\r\n$536870913\r\n", ProtocolError::InvalidLength);
    check_error(b"*1\r\n$1\r\nabc", ProtocolError::MissingLineEnd);
    check_error(&vec![b'x'; LINE_BYTES_MAX + 1], ProtocolError::InlineTooBig);
    check_error(&[&b"*"[..], &vec![b'1'; LINE_BYTES_MAX]].concat(), ProtocolError::CountLineTooBig);
    check_error(&[&b"*1\r\n"[..], &vec![b'$'; LINE_BYTES_MAX + 1]].concat(), ProtocolError::LengthLineTooBig);
    assert_eq!(ProtocolError::ExpectedBulk(0xff).text()[..], b"Protocol error: expected '$', got '\xff'"[..]);
}

/// Found with a Valkey 9.1.2, which refuses what older versions skip: the byte after the CR of a line with a number.
#[test]
fn a_carriage_return_without_a_line_feed_is_refused() {
    for bad in [
        &b"*1\rX$4\r\nPING\r\n"[..],
        b"*1\r\r$4\r\nPING\r\n",
        b"*0\rX*1\r\n$4\r\nPING\r\n",
        b"*-1\rX",
        b"*x\rX",
        b"*1\r\n$4\rXPING\r\n",
        b"*1\r\n$16384\rX",
        b"*1\r\n$x\rX",
        b"*1\r\n$-1\rX",
        b"*1\r\n$4\r\nPING\rX",
        b"*1\r\n$4\r\nPINGX\n",
        b"|1\rX$1\r\n",
        b"|1\r\n$1\rXa\r\n",
    ] {
        check_error(bad, ProtocolError::MissingLineEnd);
    }
    check_error(b"*1\r\nPING\rX", ProtocolError::ExpectedBulk(b'P'));
    // In an inline command it is white space.
    check(b"PING\rX\n", &[b"PING", b"X"]);
}

/// The attribute and the arguments of a command.
fn with_attribute(input: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut spans = ArgSpans::new();
    // However the bytes are split, nothing is complete before the end.
    for end in 0..input.len() {
        let Ok(Parsed::Incomplete { needed }) = parse(&input[..end], &mut spans, &Limits::DEFAULT) else {
            panic!("whole at {end}: {}", input.escape_ascii());
        };
        assert!((end + 1..=input.len()).contains(&needed), "{needed} at {end}");
    }
    let parsed = parse(input, &mut spans, &Limits::DEFAULT).unwrap();
    assert_eq!(parsed, Parsed::Complete { consumed: input.len() });
    let attribute = spans.attribute(input).map(|pairs| pairs.to_owned_args()).unwrap_or_default();
    (attribute, spans.args(input).to_owned_args())
}

#[test]
fn attributes() {
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    let one = [&b"|1\r\n$10\r\ndurability\r\n$4\r\nsync\r\n"[..], get].concat();
    assert_eq!(with_attribute(&one), (vec![b"durability".into(), b"sync".into()], vec![b"GET".into(), b"k".into()]));
    let two = [&b"|2\r\n$1\r\na\r\n$0\r\n\r\n$1\r\nb\r\n$2\r\n*1\r\n"[..], get].concat();
    let pairs: [&[u8]; 4] = [b"a", b"", b"b", b"*1"];
    assert_eq!(with_attribute(&two).0, pairs);
    assert_eq!(with_attribute(get).0, Vec::<Vec<u8>>::new());
    // The content of reused spans is replaced.
    let mut spans = ArgSpans::new();
    parse(&one, &mut spans, &Limits::DEFAULT).unwrap();
    parse(get, &mut spans, &Limits::DEFAULT).unwrap();
    assert!(spans.attribute(get).is_none());
    assert_eq!(spans.arg_in(get, 1), Some(&b"k"[..]));
    // The attribute of an empty command is skipped with it.
    check(b"|1\r\n$1\r\na\r\n$1\r\nb\r\n*0\r\n", &[]);
}

#[test]
fn attributes_have_limits() {
    for count in ["", "x", "0", "-1", "01", "9", "99999999999999999999"] {
        check_error(format!("|{count}\r\n").as_bytes(), ProtocolError::InvalidAttributeCount);
    }
    check_error(&[&b"|"[..], &vec![b'1'; LINE_BYTES_MAX]].concat(), ProtocolError::InvalidAttributeCount);
    check_error(b"|1\r\n$65\r\n", ProtocolError::AttributeTooBig);
    check_error(b"|1\r\n+a\r\n", ProtocolError::ExpectedBulk(b'+'));
    check_error(b"|1\r\n$-1\r\n", ProtocolError::InvalidLength);
    check_error(b"|1\r\n$1\r\nabc", ProtocolError::MissingLineEnd);
    let whole = b"|1\r\n$1\r\na\r\n$1\r\nb\r\n";
    check_error(&[&whole[..], b"PING\r\n"].concat(), ProtocolError::ExpectedCommand(b'P'));
    check_error(&whole.repeat(2), ProtocolError::ExpectedCommand(b'|'));
    let text = ProtocolError::ExpectedCommand(0xff).text();
    assert_eq!(text[..], b"Protocol error: expected '*' after an attribute, got '\xff'"[..]);
}

#[test]
fn before_authentication() {
    let refuse = |input: &[u8]| parse(input, &mut ArgSpans::new(), &Limits::UNAUTHENTICATED);
    assert_eq!(refuse(b"*11\r\n"), Err(ProtocolError::UnauthenticatedCount));
    assert_eq!(refuse(b"*1\r\n$16385\r\n"), Err(ProtocolError::UnauthenticatedLength));
    assert!(matches!(refuse(b"*10\r\n$16384\r\n"), Ok(Parsed::Incomplete { .. })));
}

#[test]
fn typed_lines_are_split_as_inline_commands() {
    let split = |line: &[u8]| split_line(line).unwrap();
    assert_eq!(split(b"  set \"a b\" 'c\\'d' \"\\x00\\n\" "), [&b"set"[..], b"a b", b"c'd", b"\0\n"]);
    assert_eq!(split(b" \t"), [b""; 0]);
    assert_eq!(split_line(b"set a \"b"), None);
    assert_eq!(split_line(b"set a \"b\"c"), None);
    // Longer than an inline command may be.
    assert_eq!(split(&vec![b'x'; 2 * LINE_BYTES_MAX]).len(), 1);
}

#[test]
fn a_declared_length_allocates_nothing() {
    let mut spans = ArgSpans::new();
    let needed = parse(b"*2000000000\r\n$536870912\r\nx", &mut spans, &Limits::DEFAULT);
    assert_eq!(needed, Ok(Parsed::Incomplete { needed: 25 + 536_870_912 + 2 }));
    assert!(spans.spans.capacity() < 100);
}
