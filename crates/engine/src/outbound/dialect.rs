//! What a reader understands.

/// The version of the RDB format that a reader understands, and with it commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Version 11: Valkey before 9, Redis from 7.2 on, and readers that do not say which they are. Fields of hashes
    /// have no deadlines.
    Rdb11,
    /// Version 80: Valkey from 9 on.
    Rdb80,
}

/// The first major version of Valkey that reads version 80.
const VALKEY_WITH_RDB80: u32 = 9;

impl Dialect {
    /// The dialect of a reader that has named its version (`REPLCONF version 9.1.0`), which only Valkey does.
    #[must_use]
    pub fn of_version(version: &[u8]) -> Dialect {
        let major = version.split(|byte| *byte == b'.').next().unwrap_or_default();
        let major = std::str::from_utf8(major).ok().and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major >= VALKEY_WITH_RDB80) { Dialect::Rdb80 } else { Dialect::Rdb11 }
    }

    /// Whether fields of hashes may have deadlines.
    #[must_use]
    pub fn has_field_deadlines(self) -> bool {
        self == Dialect::Rdb80
    }

    /// The first bytes of a file.
    pub(super) fn magic(self) -> &'static [u8] {
        match self {
            Dialect::Rdb11 => b"REDIS0011",
            Dialect::Rdb80 => b"VALKEY080",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_a_dialect() {
        for version in ["9.0.0", "9.1.0", "10.2", "9"] {
            assert_eq!(Dialect::of_version(version.as_bytes()), Dialect::Rdb80, "{version}");
        }
        for version in ["8.0.1", "8.1.4", "7.2.4", "", "x", "-9.0", "9x"] {
            assert_eq!(Dialect::of_version(version.as_bytes()), Dialect::Rdb11, "{version}");
        }
    }
}
