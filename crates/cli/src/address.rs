//! Where a node is reached.

use std::fmt;

/// Host and port of a listener for clients.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Address {
    /// An address.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Address {
        Address { host: host.into(), port }
    }

    /// The address in a redirection (`host:port`), which a node sent that was reached at `from`. Without a host it is
    /// the one of that node.
    #[must_use]
    pub fn redirected(text: &str, from: &Address) -> Option<Address> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = if host.is_empty() { &from.host } else { host };
        let is_shown = |c: char| !c.is_control() && !c.is_whitespace();
        let port = port.parse().ok().filter(|port| *port > 0)?;
        host.chars().all(is_shown).then(|| Address::new(host, port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_redirections() {
        let from = Address::new("10.0.0.1", 7400);
        let read = |text| Address::redirected(text, &from);
        assert_eq!(read("10.0.0.2:7401"), Some(Address::new("10.0.0.2", 7401)));
        assert_eq!(read(":7401"), Some(Address::new("10.0.0.1", 7401)));
        assert_eq!(read("::1:7401"), Some(Address::new("::1", 7401)));
        assert_eq!(read("[::1]:7401"), Some(Address::new("::1", 7401)));
        for wrong in ["", "host", "host:", "host:0", "host:70000", "ho\u{1b}st:1"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn they_are_shown_so_that_they_can_be_read_back() {
        assert_eq!(Address::new("db", 1).to_string(), "db:1");
        assert_eq!(Address::new("::1", 1).to_string(), "[::1]:1");
    }
}
