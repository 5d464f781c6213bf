//! Effects of lists as commands.

use super::untranslated::Untranslated;
use super::writer::CommandWriter;
use crate::list::change::{ListChange, ListEnd, read_positions};
use crate::list::effect::ListEffect;

/// Writes a change of a list. `marker`: an element that no list has.
///
/// # Errors
/// The effect is of an older version and does not name what the command needs.
pub(super) fn write_list(
    effect: &ListEffect<'_>,
    marker: &[u8],
    out: &mut CommandWriter<'_>,
) -> Result<(), Untranslated> {
    let key = effect.key.bytes;
    match effect.change {
        ListChange::Push { end, elements } => {
            let name = if end == ListEnd::Head { "LPUSH" } else { "RPUSH" };
            out.start(name, 1 + elements.len()).arg(key).args(elements.iter());
        }
        ListChange::AddNode { elements, .. } => {
            out.start("RPUSH", 1 + elements.len()).arg(key).args(elements.iter());
        }
        ListChange::Trim { head, tail } => {
            // The last element that stays, counted from the tail: -1 is the last one.
            let last = i64::try_from(tail).map_or(i64::MIN, |tail| -tail.saturating_add(1));
            out.start("LTRIM", 3).arg(key).number(head).number(last);
        }
        ListChange::Set { index, element } => _ = out.start("LSET", 3).arg(key).number(index).arg(element),
        ListChange::Insert { value: None, .. } => return Err(Untranslated::Older("LINSERT")),
        ListChange::Insert { value: Some(value), after, element, .. } => {
            let place: &[u8] = if after { b"AFTER" } else { b"BEFORE" };
            out.command("LINSERT", &[key, place, value, element]);
        }
        // There is no command that removes by position.
        ListChange::Remove { positions } => {
            for position in read_positions(positions) {
                out.start("LSET", 3).arg(key).number(position).arg(marker);
            }
            out.command("LREM", &[key, b"0", marker]);
        }
        ListChange::Rotate { from, to } => out.command("LMOVE", &[key, key, side(from), side(to)]),
    }
    Ok(())
}

fn side(end: ListEnd) -> &'static [u8] {
    if end == ListEnd::Head { b"LEFT" } else { b"RIGHT" }
}
