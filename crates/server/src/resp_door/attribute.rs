//! What the attribute in front of a command asks for. A name or value that is not known is refused with the command: whoever sends
//! one wants something of the command that would silently not be given.

use fastness_resp::Args;
use fastness_shard::Ask;

/// The one name that is known: what the reply waits for.
const DURABILITY: &str = "durability";

/// Reads names and values; gives what is asked for, or the error's text.
pub(super) fn read(pairs: Args<'_>) -> Result<Ask, Vec<u8>> {
    let mut ask = None;
    for i in (0..pairs.len()).step_by(2) {
        let (name, value) = (pairs.get(i), pairs.get(i + 1));
        if !name.eq_ignore_ascii_case(DURABILITY.as_bytes()) {
            return Err(quoting("ERR unknown attribute '", name, "' in front of the command: it takes 'durability'"));
        }
        let asked = Ask::named(value).ok_or_else(|| {
            quoting("ERR attribute 'durability' in front of the command takes 'sync' or 'default', not '", value, "'")
        })?;
        if ask.replace(asked).is_some_and(|before| before != asked) {
            return Err(
                b"ERR attribute 'durability' stands in front of the command twice, with different values".into()
            );
        }
    }
    Ok(ask.unwrap_or_default())
}

/// An error line cannot hold every byte: what ends a line is shown as a blank when it is written.
fn quoting(before: &str, word: &[u8], behind: &str) -> Vec<u8> {
    [before.as_bytes(), word, behind.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[&str], expect: Result<Ask, &str>) {
        let words: Vec<&[u8]> = pairs.iter().map(|word| word.as_bytes()).collect();
        assert_eq!(read(Args::slices(&words)), expect.map_err(|text| text.as_bytes().to_vec()));
    }

    #[test]
    fn attributes() {
        check(&["durability", "sync"], Ok(Ask::Sync));
        check(&["Durability", "DEFAULT"], Ok(Ask::Default));
        check(&["durability", "sync", "durability", "sync"], Ok(Ask::Sync));
        check(
            &["durability", "sync", "durability", "default"],
            Err("ERR attribute 'durability' stands in front of the command twice, with different values"),
        );
        check(
            &["durability", "async"],
            Err("ERR attribute 'durability' in front of the command takes 'sync' or 'default', not 'async'"),
        );
        check(
            &["durability", "sync", "ttl", "5"],
            Err("ERR unknown attribute 'ttl' in front of the command: it takes 'durability'"),
        );
    }
}
