//! What a connection has said of itself with REPLCONF, before it becomes a reader's.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;

use fastness_engine::outbound::dialect::Dialect;
use fastness_resp::number::parse_int;

/// Longest address that a reader may announce, bytes.
const ADDRESS_BYTES_MAX: usize = 255;

/// Why an option of REPLCONF is refused, in Valkey's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplconfError {
    /// The value is no number, or out of range.
    #[error("ERR value is not an integer or out of range")]
    NoInteger,
    /// The address is too long.
    #[error("ERR REPLCONF ip-address provided by replica instance is too long: {0} bytes")]
    Address(usize),
    /// There is no such part of a file.
    #[error("ERR Unsupported rdb-filter-only option: {0}")]
    Filter(String),
    /// The option is unknown.
    #[error("ERR Unrecognized REPLCONF option: {0}")]
    Unknown(String),
}

/// See the module.
#[derive(Debug, Default)]
pub struct ReplicaFacts {
    port: Cell<u16>,
    /// Empty: that of the connection.
    address: RefCell<String>,
    knows_marks: Cell<bool>,
    /// `None`: it has named no version.
    dialect: Cell<Option<Dialect>>,
    only_file: Cell<bool>,
    without_data: Cell<bool>,
}

impl ReplicaFacts {
    /// Notes an option of REPLCONF.
    ///
    /// # Errors
    /// The option is unknown, or the value is not one of it.
    pub fn set(&self, option: &[u8], value: &[u8]) -> Result<(), ReplconfError> {
        let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let number = || parse_int(value).ok_or(ReplconfError::NoInteger);
        if is("listening-port") {
            self.port.set(u16::try_from(number()?).map_err(|_| ReplconfError::NoInteger)?);
        } else if is("ip-address") {
            if value.len() > ADDRESS_BYTES_MAX {
                return Err(ReplconfError::Address(value.len()));
            }
            self.address.replace(text(value));
        } else if is("capa") {
            // As in Valkey, what is not known is ignored.
            self.knows_marks.set(self.knows_marks.get() || value.eq_ignore_ascii_case(b"eof"));
        } else if is("version") {
            self.dialect.set(Some(Dialect::of_version(value)));
        } else if is("rdb-only") {
            self.only_file.set(number()? == 1);
        } else if is("rdb-filter-only") {
            // There are no functions to be sent: either filter leaves nothing.
            if !value.is_empty() && !value.eq_ignore_ascii_case(b"functions") {
                return Err(ReplconfError::Filter(text(value)));
            }
            self.without_data.set(true);
        } else {
            return Err(ReplconfError::Unknown(text(option)));
        }
        Ok(())
    }

    /// The port on which it listens; 0: it has named none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.get()
    }

    /// Its address: the announced one, or that of its connection.
    #[must_use]
    pub fn ip(&self, connection: SocketAddr) -> String {
        let announced = self.address.borrow();
        if announced.is_empty() { connection.ip().to_canonical().to_string() } else { announced.clone() }
    }

    /// What it understands.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect.get().unwrap_or(Dialect::Rdb11)
    }

    /// Whether it finds the end of a file by a mark (`capa eof`).
    #[must_use]
    pub fn knows_marks(&self) -> bool {
        self.knows_marks.get()
    }

    /// Whether it wants nothing after the file (`rdb-only`).
    #[must_use]
    pub fn only_file(&self) -> bool {
        self.only_file.get()
    }

    /// Whether it wants the data (not with `rdb-filter-only`).
    #[must_use]
    pub fn wants_data(&self) -> bool {
        !self.without_data.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_noted() {
        let facts = ReplicaFacts::default();
        assert!(facts.dialect() == Dialect::Rdb11 && !facts.knows_marks() && !facts.only_file() && facts.wants_data());
        for (option, value) in [
            ("listening-port", "7001"),
            ("capa", "eof"),
            ("CAPA", "psync2"),
            ("version", "9.1.0"),
            ("rdb-only", "1"),
            ("rdb-filter-only", "functions"),
        ] {
            assert_eq!(facts.set(option.as_bytes(), value.as_bytes()), Ok(()), "{option}");
        }
        assert!(facts.dialect() == Dialect::Rdb80 && facts.knows_marks() && facts.only_file() && !facts.wants_data());
        let connection = SocketAddr::from(([10, 0, 0, 1], 4));
        assert_eq!((facts.ip(connection), facts.port()), ("10.0.0.1".to_owned(), 7001));
        assert_eq!(facts.set(b"ip-address", b"replica.example"), Ok(()));
        assert_eq!(facts.ip(connection), "replica.example");
    }

    #[test]
    fn others_are_refused_in_valkeys_words() {
        let facts = ReplicaFacts::default();
        for (option, value, expected) in [
            ("listening-port", "x", "ERR value is not an integer or out of range"),
            ("listening-port", "70000", "ERR value is not an integer or out of range"),
            ("rdb-filter-only", "keys", "ERR Unsupported rdb-filter-only option: keys"),
            ("rdb-channel", "1", "ERR Unrecognized REPLCONF option: rdb-channel"),
        ] {
            let refused = facts.set(option.as_bytes(), value.as_bytes()).map_err(|error| error.to_string());
            assert_eq!(refused, Err(expected.to_owned()), "{option}");
        }
        assert!(facts.set(b"ip-address", &[b'a'; 256]).is_err());
    }
}
