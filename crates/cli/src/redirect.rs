//! Errors that say where a command is to be sent, or that it can be sent again.

use fastness_resp::value::Value;

use crate::address::Address;

/// Where a node sends a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The slot of the command's keys.
    pub slot: u16,
    /// The node that serves it.
    pub to: Address,
    /// For this command alone, after ASKING; otherwise the slot has moved there.
    pub is_ask: bool,
}

/// The redirection that a reply is; `from` is the node that sent it.
#[must_use]
pub fn redirect(reply: &Value, from: &Address) -> Option<Redirect> {
    let text = std::str::from_utf8(reply.as_error()?).ok()?;
    let mut words = text.split_ascii_whitespace();
    let is_ask = match words.next()? {
        "MOVED" => false,
        "ASK" => true,
        _ => return None,
    };
    Some(Redirect { slot: words.next()?.parse().ok()?, to: Address::redirected(words.next()?, from)?, is_ask })
}

/// Whether an error says that the command was not executed because the cluster cannot serve it at the moment.
#[must_use]
pub fn is_refused_for_now(error: &[u8]) -> bool {
    [&b"CLUSTERDOWN "[..], b"TRYAGAIN ", b"LOADING "].iter().any(|prefix| error.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_are_read() {
        let from = Address::new("h", 1);
        let read = |text: &str| redirect(&Value::Error(text.as_bytes().to_vec()), &from);
        let to = Address::new("10.0.0.2", 7401);
        assert_eq!(read("MOVED 5474 10.0.0.2:7401"), Some(Redirect { slot: 5474, to: to.clone(), is_ask: false }));
        assert_eq!(read("ASK 1 10.0.0.2:7401"), Some(Redirect { slot: 1, to, is_ask: true }));
        assert_eq!(read("MOVED 1 :7").map(|redirect| redirect.to), Some(Address::new("h", 7)));
        for other in ["MOVED", "MOVED x h:1", "MOVED 1 h", "ERR MOVED 1 h:1", "CLUSTERDOWN no"] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(redirect(&Value::Simple(b"MOVED 1 h:1".to_vec()), &from), None);
    }

    #[test]
    fn what_was_not_executed_can_be_sent_again() {
        assert!(is_refused_for_now(b"CLUSTERDOWN The cluster is down"));
        assert!(is_refused_for_now(b"LOADING x"));
        for other in [&b"UNKNOWN x"[..], b"ERR x", b"OOM x", b"CLUSTERDOWNX", b"MOVED 1 h:1"] {
            assert!(!is_refused_for_now(other));
        }
    }
}
