//! Slots as arguments.

use fastness_types::{SLOTS, Slot};

/// The slot of this number; `None`: there is none.
pub(super) fn slot_of_number(number: i64) -> Option<Slot> {
    usize::try_from(number).ok().filter(|number| *number < SLOTS).map(|number| Slot(number as u16))
}
