//! The slots that a command, a transaction or a script uses: whether it is one.

use fastness_types::Slot;

/// The slots of the keys of one command or transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum SlotsSeen {
    #[default]
    None,
    One(Slot),
    Several,
}

impl SlotsSeen {
    /// One more key.
    #[inline]
    pub(crate) fn and(self, slot: Slot) -> SlotsSeen {
        match self {
            SlotsSeen::None => SlotsSeen::One(slot),
            SlotsSeen::One(other) if other == slot => self,
            _ => SlotsSeen::Several,
        }
    }

    pub(crate) fn merge(self, other: SlotsSeen) -> SlotsSeen {
        match other {
            SlotsSeen::None => self,
            SlotsSeen::One(slot) => self.and(slot),
            SlotsSeen::Several => SlotsSeen::Several,
        }
    }
}
