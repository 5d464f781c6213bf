//! What the attribute in front of a command asks for. A name or value that is not known is refused with the command:
//! whoever sends one wants something of the command that would silently not be given.

use fastness_resp::Args;
use fastness_shard::{DurabilityOverride, ReadConfirmation};

/// What the reply waits for.
const DURABILITY: &str = "durability";
/// How a read is confirmed.
const READS: &str = "reads";

/// What a command itself asks for, in the place of what its connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Asked {
    pub(super) ask: Option<DurabilityOverride>,
    pub(super) reads: Option<ReadConfirmation>,
}

/// Reads names and values; gives what is asked for, or the error's text.
pub(super) fn read(pairs: Args<'_>) -> Result<Asked, Vec<u8>> {
    let mut asked = Asked::default();
    for i in (0..pairs.len()).step_by(2) {
        let (name, value) = (pairs.get(i), pairs.get(i + 1));
        if name.eq_ignore_ascii_case(DURABILITY.as_bytes()) {
            set(&mut asked.ask, DurabilityOverride::named(value), DURABILITY, "'sync' or 'default'", value)?;
        } else if name.eq_ignore_ascii_case(READS.as_bytes()) {
            set(&mut asked.reads, ReadConfirmation::named(value), READS, "'quorum' or 'default'", value)?;
        } else {
            let behind = "' in front of the command: it takes 'durability' and 'reads'";
            return Err(quoting("ERR unknown attribute '", name, behind));
        }
    }
    Ok(asked)
}

fn set<T: PartialEq>(
    held: &mut Option<T>,
    named: Option<T>,
    name: &str,
    values: &str,
    value: &[u8],
) -> Result<(), Vec<u8>> {
    let Some(named) = named else {
        let before = format!("ERR attribute '{name}' in front of the command takes {values}, not '");
        return Err(quoting(&before, value, "'"));
    };
    if held.as_ref().is_some_and(|before| *before != named) {
        let text = format!("ERR attribute '{name}' stands in front of the command twice, with different values");
        return Err(text.into_bytes());
    }
    *held = Some(named);
    Ok(())
}

/// An error line cannot hold every byte: what ends a line is shown as a blank when it is written.
fn quoting(before: &str, word: &[u8], behind: &str) -> Vec<u8> {
    [before.as_bytes(), word, behind.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[&str], expect: Result<Asked, &str>) {
        let words: Vec<&[u8]> = pairs.iter().map(|word| word.as_bytes()).collect();
        assert_eq!(read(Args::slices(&words)), expect.map_err(|text| text.as_bytes().to_vec()));
    }

    #[test]
    fn attributes() {
        let durability = |ask| Ok(Asked { ask: Some(ask), reads: None });
        check(&["durability", "sync"], durability(DurabilityOverride::Sync));
        check(&["Durability", "DEFAULT"], durability(DurabilityOverride::Default));
        check(&["durability", "sync", "durability", "sync"], durability(DurabilityOverride::Sync));
        check(&["reads", "QUORUM"], Ok(Asked { ask: None, reads: Some(ReadConfirmation::Quorum) }));
        let both = Asked { ask: Some(DurabilityOverride::Sync), reads: Some(ReadConfirmation::Default) };
        check(&["reads", "default", "durability", "sync"], Ok(both));
        check(
            &["reads", "lease"],
            Err("ERR attribute 'reads' in front of the command takes 'quorum' or 'default', not 'lease'"),
        );
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
            Err("ERR unknown attribute 'ttl' in front of the command: it takes 'durability' and 'reads'"),
        );
    }
}
