//! The attribute of a command: what a client asks for this one command. An unknown name or value is refused together
//! with the command, because the client relies on what it asks for.

use fastness_resp::Args;
use fastness_shard::{DurabilityOverride, ReadConfirmation};

/// What the reply waits for.
const DURABILITY: &str = "durability";
/// How a read is confirmed.
const READS: &str = "reads";

/// What one command overrides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overrides {
    /// What its reply waits for.
    pub durability: Option<DurabilityOverride>,
    /// How its read is confirmed.
    pub reads: Option<ReadConfirmation>,
}

/// Parses names and values.
///
/// # Errors
/// The text of the error reply.
pub fn parse(pairs: Args<'_>) -> Result<Overrides, Vec<u8>> {
    let mut overrides = Overrides::default();
    for i in (0..pairs.len()).step_by(2) {
        let (name, value) = (pairs.get(i), pairs.get(i + 1));
        if name.eq_ignore_ascii_case(DURABILITY.as_bytes()) {
            set(&mut overrides.durability, DurabilityOverride::named(value), DURABILITY, "'sync' or 'default'", value)?;
        } else if name.eq_ignore_ascii_case(READS.as_bytes()) {
            set(&mut overrides.reads, ReadConfirmation::named(value), READS, "'quorum' or 'default'", value)?;
        } else {
            let behind = "' in front of the command: it takes 'durability' and 'reads'";
            return Err(quoting("ERR unknown attribute '", name, behind));
        }
    }
    Ok(overrides)
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
    fn check(pairs: &[&str], expect: Result<Overrides, &str>) {
        let words: Vec<&[u8]> = pairs.iter().map(|word| word.as_bytes()).collect();
        assert_eq!(parse(Args::slices(&words)), expect.map_err(|text| text.as_bytes().to_vec()));
    }

    #[test]
    fn attributes() {
        let durability = |wanted| Ok(Overrides { durability: Some(wanted), reads: None });
        check(&["durability", "sync"], durability(DurabilityOverride::Sync));
        check(&["Durability", "DEFAULT"], durability(DurabilityOverride::Default));
        check(&["durability", "sync", "durability", "sync"], durability(DurabilityOverride::Sync));
        check(&["reads", "QUORUM"], Ok(Overrides { durability: None, reads: Some(ReadConfirmation::Quorum) }));
        let both = Overrides { durability: Some(DurabilityOverride::Sync), reads: Some(ReadConfirmation::Default) };
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
