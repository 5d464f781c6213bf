//! A message as its receivers get it: encoded when it is first needed, once for each version of the protocol.

use std::cell::OnceCell;
use std::sync::Arc;

use fastness_resp::{Protocol, ReplyBuf};

use super::subscriptions::ChannelKind;
use crate::publications::message::Publication;

/// See the module.
#[derive(Debug, Default)]
pub struct Encoded {
    versions: [OnceCell<Arc<Vec<u8>>>; 2],
}

impl Encoded {
    /// The message for a receiver of this version that is subscribed to `name`.
    pub fn of(&self, protocol: Protocol, (kind, name): (ChannelKind, &[u8]), message: &Publication) -> &Arc<Vec<u8>> {
        let version = match protocol {
            Protocol::Resp2 => 0,
            Protocol::Resp3 => 1,
        };
        self.versions[version].get_or_init(|| Arc::new(encode(protocol, (kind, name), message)))
    }
}

fn encode(protocol: Protocol, (kind, name): (ChannelKind, &[u8]), message: &Publication) -> Vec<u8> {
    let mut out = ReplyBuf::new(protocol);
    out.reserve(message.channel.len() + message.payload.len() + name.len() + 64);
    match kind {
        ChannelKind::Channel => {
            out.push(3);
            out.bulk("message");
        }
        ChannelKind::Shard => {
            out.push(3);
            out.bulk("smessage");
        }
        ChannelKind::Pattern => {
            out.push(4);
            out.bulk("pmessage");
            out.bulk(name);
        }
    }
    out.bulk(&message.channel);
    out.bulk(&message.payload);
    std::mem::take(out.buf_mut().own())
}

/// The confirmation that a subscription has ended because the shard does not serve its channel any more.
pub(super) fn lost(protocol: Protocol, channel: &[u8], left: usize) -> Vec<u8> {
    let mut out = ReplyBuf::new(protocol);
    out.push(3);
    out.bulk("sunsubscribe");
    out.bulk(channel);
    out.integer(i64::try_from(left).unwrap_or(i64::MAX));
    std::mem::take(out.buf_mut().own())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_encoded_once() {
        let message = Publication { channel: "c1".into(), payload: "hi".into(), shard: None };
        let encoded = Encoded::default();
        let of = |protocol| encoded.of(protocol, (ChannelKind::Pattern, b"c*"), &message).clone();
        let text = "4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$2\r\nc1\r\n$2\r\nhi\r\n";
        assert_eq!(*of(Protocol::Resp2), format!("*{text}").into_bytes());
        assert_eq!(*of(Protocol::Resp3), format!(">{text}").into_bytes());
        assert!(Arc::ptr_eq(&of(Protocol::Resp2), &of(Protocol::Resp2)));
    }
}
