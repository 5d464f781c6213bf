//! The databases that a selector may use: `alldbs`, `resetdbs`, `db=0,1,2`.

use crate::limits::PATTERNS_MAX;
use crate::rule_error::RuleProblem;
use crate::words;

/// Databases of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DatabaseRights {
    /// All.
    All,
    /// These, in ascending order.
    Only(Vec<u32>),
}

impl DatabaseRights {
    /// Reads the numbers after `db=`.
    pub(crate) fn parse(numbers: &[u8]) -> Result<DatabaseRights, RuleProblem> {
        if numbers.last() == Some(&b',') {
            return Err(RuleProblem::Syntax);
        }
        let mut databases = Vec::new();
        for text in numbers.split(|byte| *byte == b',') {
            databases.push(number(text)?);
            if databases.len() > PATTERNS_MAX {
                databases.sort_unstable();
                databases.dedup();
            }
            if databases.len() > PATTERNS_MAX {
                return Err(RuleProblem::TooManyPatterns);
            }
        }
        databases.sort_unstable();
        databases.dedup();
        Ok(DatabaseRights::Only(databases))
    }

    /// Whether these are all databases.
    pub(crate) fn are_all(&self) -> bool {
        matches!(self, DatabaseRights::All)
    }

    /// Whether this database is one of them.
    pub(crate) fn has(&self, database: u32) -> bool {
        match self {
            DatabaseRights::All => true,
            DatabaseRights::Only(databases) => databases.binary_search(&database).is_ok(),
        }
    }

    /// Number of databases that are named.
    pub(crate) fn count(&self) -> usize {
        match self {
            DatabaseRights::All => 0,
            DatabaseRights::Only(databases) => databases.len(),
        }
    }

    /// Appends the rule; nothing if these are all or no databases.
    pub(crate) fn write(&self, text: &mut Vec<u8>) {
        let DatabaseRights::Only(databases) = self else { return };
        for (at, database) in databases.iter().enumerate() {
            text.extend_from_slice(if at == 0 { b"db=" } else { b"," });
            text.extend_from_slice(database.to_string().as_bytes());
        }
    }
}

/// A number as C's `strtoll` reads it: white space and `+` may precede it.
fn number(text: &[u8]) -> Result<u32, RuleProblem> {
    let start = text.iter().position(|byte| !words::is_space(*byte)).unwrap_or(text.len());
    let (negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(RuleProblem::Syntax);
    }
    let value =
        digits.iter().fold(0_u64, |value, digit| value.saturating_mul(10).saturating_add((digit - b'0').into()));
    match i32::try_from(value) {
        Ok(value) if !negative || value == 0 => Ok(value.unsigned_abs()),
        _ => Err(RuleProblem::DatabaseOutOfRange),
    }
}
