use super::*;
use crate::command::table;
use fastness_resp::{Protocol, Value, value};

fn reply_of(protocol: Protocol, write: impl FnOnce(&mut ReplyBuf)) -> Value {
    let mut reply = ReplyBuf::new(protocol);
    write(&mut reply);
    let (value, length) = value::parse(&reply.to_vec()).expect("a reply").expect("a whole reply");
    assert_eq!(length, reply.len(), "one reply and nothing behind it");
    value
}

fn keys(request: &str) -> Result<Vec<(String, Vec<&'static str>)>, String> {
    let request = format!("command getkeys {request}");
    let words: Vec<&[u8]> = request.split_whitespace().map(str::as_bytes).collect();
    let (inner, keys) = keys_of(table(), Args::slices(&words)).map_err(|error| error.to_string())?;
    let name = |place| String::from_utf8_lossy(inner.get(place)).into_owned();
    Ok(keys.into_iter().map(|(place, flags)| (name(place), flags.names().collect())).collect())
}

#[test]
fn every_description_is_one_reply() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        for spec in table().all() {
            reply_of(protocol, |reply| table().write_info(spec, reply));
        }
        reply_of(protocol, |reply| info_of_all(table(), reply));
    }
}

#[test]
fn keys_with_what_is_done_to_them() {
    for (request, flags) in [
        ("set a 1", &["OW", "update"][..]),
        ("set a 1 get", &["RW", "access", "update"]),
        ("bitfield a get u8 0", &["RO", "access"]),
        ("bitfield a get u8 0 set u8 0 1", &["RW", "access", "update"]),
    ] {
        assert_eq!(keys(request).unwrap(), [("a".to_owned(), flags.to_vec())], "{request}");
    }
    assert_eq!(keys("nosuch a").unwrap_err(), "ERR Invalid command specified");
    let (read, store) = (vec!["RO", "access"], vec!["OW", "update"]);
    let expected = [("a".to_owned(), read), ("c".to_owned(), store)];
    assert_eq!(keys("sort a by x* store b store c").unwrap(), expected);
    assert_eq!(keys("command count").unwrap_err(), "ERR The command has no key arguments");
}

#[test]
fn counts_what_is_implemented() {
    let Value::Array(all) = reply_of(Protocol::Resp2, |reply| info_of_all(table(), reply)) else { panic!("an array") };
    assert_eq!(all.len(), top_level(table()).count());
}
