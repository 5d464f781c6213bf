//! Where a script runs.

use crate::leader::Leader;
use crate::state::{Primary, Replica};

/// The state that the commands of a script read, and may change.
pub(crate) enum RunPlace<'a, 'p> {
    /// On the primary, within a unit.
    Primary(&'a mut Primary<'p>),
    /// Where nothing may change.
    Reading(Option<&'a Leader>, &'a mut Replica),
}

impl RunPlace<'_, '_> {
    pub(crate) fn replica(&mut self) -> &mut Replica {
        match self {
            RunPlace::Primary(primary) => &mut *primary.replica,
            RunPlace::Reading(_, replica) => replica,
        }
    }

    /// Whether the unit has become too long.
    pub(crate) fn has_overflowed(&self) -> bool {
        match self {
            RunPlace::Primary(primary) => primary.leader.stage.effects.has_overflowed(),
            RunPlace::Reading(..) => false,
        }
    }
}
