//! Rows in the file: each has a checksum over the row before it and itself.

use anyhow::{Context, Result, ensure};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::row::Row;
use super::rules;

/// A row in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// Number of the row, from 1, without a gap.
    pub number: u64,
    /// The figures of the run.
    pub row: Row,
    /// Whether the page counts the row.
    pub counted: bool,
    /// Why it does not count.
    pub why_not: Option<String>,
    /// Checksum of the row before; empty in the first row.
    pub previous: String,
    /// Checksum over all of the above, as encoded in the file.
    pub sum: String,
}

impl Sealed {
    /// Creates the row that follows `last`.
    ///
    /// # Errors
    /// If the row cannot be encoded as JSON.
    pub fn after(last: Option<&Sealed>, row: Row) -> Result<Sealed> {
        let why_not = rules::counts(&row).err();
        let mut sealed = Sealed {
            number: last.map_or(1, |last| last.number + 1),
            row,
            counted: why_not.is_none(),
            why_not,
            previous: last.map(|last| last.sum.clone()).unwrap_or_default(),
            sum: String::new(),
        };
        sealed.sum = sealed.computed_sum()?;
        Ok(sealed)
    }

    /// The row as a line of the file.
    ///
    /// # Errors
    /// As [`Sealed::after`].
    pub fn line(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    fn computed_sum(&self) -> Result<String> {
        let text = Sealed { sum: String::new(), ..self.clone() }.line()?;
        Ok(digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Reads the rows of a file, and checks that they have not been changed.
///
/// # Errors
/// If a row has been changed, with its line.
pub fn check(text: &str) -> Result<Vec<Sealed>> {
    ensure!(text.is_empty() || text.ends_with('\n'), "the last row is cut off");
    let mut rows: Vec<Sealed> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let row = next(rows.last(), line).with_context(|| format!("line {}", at + 1))?;
        rows.push(row);
    }
    Ok(rows)
}

fn next(last: Option<&Sealed>, line: &str) -> Result<Sealed> {
    let sealed: Sealed = serde_json::from_str(line)?;
    let expected = Sealed::after(last, sealed.row.clone())?;
    ensure!(sealed.number == expected.number, "row {}, where {} was expected", sealed.number, expected.number);
    ensure!(sealed.previous == expected.previous, "it was not written after the row before it");
    ensure!(
        (sealed.counted, &sealed.why_not) == (expected.counted, &expected.why_not),
        "by the rules: {}",
        expected.why_not.as_deref().unwrap_or("it counts")
    );
    ensure!(sealed == expected && line == expected.line()?, "it was changed after it was written");
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::row::Suite;

    fn lines() -> Vec<String> {
        let mut last = None;
        let sealed = (1..=4).map(|seed| {
            let sealed = Sealed::after(last.as_ref(), Row::sample(Suite::Chaos, seed)).unwrap();
            last = Some(sealed.clone());
            sealed.line().unwrap()
        });
        sealed.collect()
    }

    fn refused(lines: &[String]) -> String {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        format!("{:#}", check(&text).unwrap_err())
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let text: String = lines().iter().map(|line| format!("{line}\n")).collect();
        let seeds: Vec<u64> = check(&text).unwrap().iter().map(|row| row.row.seed).collect();
        assert_eq!(seeds, [1, 2, 3, 4]);
        assert!(check("").unwrap().is_empty());
    }

    #[test]
    fn a_row_that_was_edited_removed_moved_or_put_in_is_found() {
        let mut edited = lines();
        edited[1] = edited[1].replace("\"lost\":0", "\"lost\":1");
        assert!(refused(&edited).starts_with("line 2: it was changed"), "{}", refused(&edited));

        let mut removed = lines();
        removed.remove(1);
        assert!(refused(&removed).starts_with("line 2: row 3"), "{}", refused(&removed));

        let mut moved = lines();
        moved.swap(1, 2);
        assert!(refused(&moved).starts_with("line 2"));

        let mut first_is_gone = lines();
        first_is_gone.remove(0);
        assert!(refused(&first_is_gone).starts_with("line 1"));

        let mut spaced = lines();
        spaced[2] = spaced[2].replacen(':', ": ", 1);
        assert!(refused(&spaced).starts_with("line 3"));

        let text = lines().concat();
        assert!(check(&text[..text.len() - 3]).is_err());
    }

    #[test]
    fn what_the_rules_do_not_count_cannot_be_made_to_count() {
        let mut row = Sealed::after(None, Row { dirty: true, ..Row::sample(Suite::Chaos, 1) }).unwrap();
        assert!(!row.counted && row.why_not.is_some());
        (row.counted, row.why_not) = (true, None);
        row.sum = row.computed_sum().unwrap();
        assert!(refused(&[row.line().unwrap()]).contains("by the rules"));
    }
}
