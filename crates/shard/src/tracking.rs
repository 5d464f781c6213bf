//! Which keys change, for clients that cache what they have read (CLIENT TRACKING).
//!
//! A front end remembers who has read which key. The shard reports each change to it ([`KeyTracker`]), while anybody
//! tracks; otherwise a unit costs one branch (`Engine::notes_changes`).
//!
//! # The order
//!
//! A change is reported when it is **staged**: from then on reads show it. The report says whether its readers are
//! informed at once, or when a batch has committed:
//!
//! - In `async` and `disabled` they are informed at once, because a new read is answered at once, too.
//! - In `sync`, and for a write with a durability override, they are informed when the batch has committed: what has
//!   not committed may be undone, and a client that reads again would only wait for the same commit.
//!
//! A read may run between both moments. It shows the change, its reply waits for the commit, and its key is remembered
//! when it runs. *Look up who has read the key when the batch commits* is then wrong: that would forget this reader as
//! well, which keeps the value and would not hear of the next change; it would serve the old value for ever. So a front
//! end takes those who have read the key out of its table when the change is **staged**, and keeps them until the
//! commit. Whoever reads afterwards is entered anew, and informed of the next change.
//!
//! Example: R has read `a`. W stages `SET a 2` in batch 4: R leaves the table, and waits with batch 4. R reads `a`
//! again: it is entered again, and its reply waits for batch 4. Batch 4 commits: R gets "`a` is invalid" and the reply
//! `2`, in either order. W stages `SET a 3` in batch 5: R is in the table.
//!
//! # What invalidates everything
//!
//! Effects that remove all keys do, at the same moments as other changes. At once: an undo, because what was read may
//! never have happened; memory that is restored from a snapshot or from the start of the log, because nobody knows
//! which keys differ; the start and the end of a tenure, and a lease that has lapsed for a second, because another
//! primary may have accepted writes that this replica does not know. While memory is restored nothing is reported, and
//! nothing is served.
//!
//! A replica reports what it applies, after it has applied it: readers are informed at once.

use std::rc::Rc;

use fastness_engine::ChangedKeys;
use fastness_types::{BootNs, Seq};

use crate::memory::ClientMemory;

/// A front end that remembers which client has read which key. Called while the shard's state is borrowed:
/// implementations use no [`crate::Shard`].
pub trait KeyTracker {
    /// These keys have changed. Whoever has read one of them until now is to be informed: at once, or when the batch
    /// `after` has committed.
    fn changed(&self, keys: &ChangedKeys, after: Option<Seq>);

    /// All batches up to `seq` have committed.
    fn committed(&self, seq: Seq);

    /// Any key may have changed, including by what was undone: everybody is to be informed at once. What waits for a
    /// batch need not wait any longer.
    fn lost(&self);
}

/// A replica's side of it.
#[derive(Default)]
pub(crate) struct Tracking {
    pub(crate) tracker: Option<Rc<dyn KeyTracker>>,
    /// What the tracker takes.
    pub(crate) memory: ClientMemory,
    /// Whether the reply of the unit that is being staged waits for its commit.
    pub(crate) awaits_commit: bool,
    /// Since when the lease has lapsed, and whether that was reported.
    pub(crate) lapsed: Option<(BootNs, bool)>,
}

impl Tracking {
    /// Sets who is informed of changes.
    pub(crate) fn set_tracker(&mut self, tracker: Rc<dyn KeyTracker>) {
        self.tracker = Some(tracker);
    }
}
