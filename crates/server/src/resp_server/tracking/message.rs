//! The message that keys are invalid, as its receivers get it: encoded when it is first needed, once for each version
//! of the protocol.

use std::cell::OnceCell;
use std::sync::Arc;

use fastness_resp::{Protocol, ReplyBuf};

/// The channel at which a connection in RESP2 gets the messages of another one.
const CHANNEL: &str = "__redis__:invalidate";
/// Bytes of names in one message; the last one may exceed it. More keys take more messages.
const MESSAGE_BYTES: usize = 64 * 1024;

/// Messages that leave together, one after the other.
pub(super) type Notices = Vec<Arc<Vec<u8>>>;

/// Messages for each version of the protocol.
#[derive(Debug, Default)]
pub(super) struct EncodedNotice([OnceCell<Notices>; 2]);

impl EncodedNotice {
    /// The messages for a receiver of this version; `encode` makes them.
    pub(super) fn of(&self, protocol: Protocol, encode: impl FnOnce(Protocol) -> Notices) -> &Notices {
        let version = match protocol {
            Protocol::Resp2 => 0,
            Protocol::Resp3 => 1,
        };
        self.0[version].get_or_init(|| encode(protocol))
    }
}

/// The start of a message, up to what is invalid. In RESP2 it looks like one of a channel.
fn begin(protocol: Protocol, out: &mut ReplyBuf) {
    match protocol {
        Protocol::Resp2 => {
            out.push(3);
            out.bulk("message");
            out.bulk(CHANNEL);
        }
        Protocol::Resp3 => {
            out.push(2);
            out.bulk("invalidate");
        }
    }
}

fn end(mut out: ReplyBuf) -> Arc<Vec<u8>> {
    Arc::new(std::mem::take(out.buf_mut().own()))
}

/// These keys are invalid.
pub(super) fn keys<'a>(protocol: Protocol, names: impl IntoIterator<Item = &'a [u8]>) -> Notices {
    let (mut messages, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for name in names {
        part.push(name);
        bytes += name.len();
        if bytes >= MESSAGE_BYTES {
            messages.push(of(protocol, &part));
            (part, bytes) = (Vec::new(), 0);
        }
    }
    if !part.is_empty() {
        messages.push(of(protocol, &part));
    }
    messages
}

fn of(protocol: Protocol, names: &[&[u8]]) -> Arc<Vec<u8>> {
    let mut out = ReplyBuf::new(protocol);
    begin(protocol, &mut out);
    out.array(names.len());
    names.iter().for_each(|name| out.bulk(name));
    end(out)
}

/// Every key is invalid.
pub(super) fn everything(protocol: Protocol) -> Notices {
    let mut out = ReplyBuf::new(protocol);
    begin(protocol, &mut out);
    out.null();
    vec![end(out)]
}

/// The connection that gets the messages of this one is gone. In RESP3 alone.
pub(super) fn broken(redirect: u64) -> Arc<Vec<u8>> {
    let mut out = ReplyBuf::new(Protocol::Resp3);
    out.push(2);
    out.bulk("tracking-redir-broken");
    out.integer(i64::try_from(redirect).unwrap_or(i64::MAX));
    end(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(messages: &Notices) -> String {
        messages.iter().map(|message| String::from_utf8_lossy(message).into_owned()).collect()
    }

    #[test]
    fn messages_are_as_valkey_sends_them() {
        let names: [&[u8]; 2] = [b"a", b""];
        assert_eq!(text(&keys(Protocol::Resp3, names)), ">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$0\r\n\r\n");
        let channel = "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n";
        assert_eq!(text(&keys(Protocol::Resp2, [&b"a"[..]])), format!("{channel}*1\r\n$1\r\na\r\n"));
        assert_eq!(text(&everything(Protocol::Resp3)), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
        assert_eq!(text(&everything(Protocol::Resp2)), format!("{channel}$-1\r\n"));
        assert_eq!(text(&vec![broken(7)]), ">2\r\n$21\r\ntracking-redir-broken\r\n:7\r\n");
    }

    #[test]
    fn many_keys_take_several_messages() {
        let names = vec![vec![b'x'; MESSAGE_BYTES / 4]; 9];
        assert_eq!(keys(Protocol::Resp3, names.iter().map(Vec::as_slice)).len(), 3);
        assert_eq!(keys(Protocol::Resp3, []).len(), 0);
    }
}
