//! Why something happened: closed sets with stable names.

use crate::field::{Field, Value};

/// Defines a set of reasons: the type, and the name of each.
macro_rules! reasons {
    ($(#[$doc:meta])* $set:ident { $($(#[$each:meta])* $reason:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $set {
            $($(#[$each])* $reason,)*
        }

        impl $set {
            /// All of them.
            pub const ALL: &[$set] = &[$($set::$reason),*];

            /// The name, which never changes.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $($set::$reason => $name,)*
                }
            }
        }

        impl Field for $set {
            type Logged<'a> = &'static str;

            fn logged(&self) -> &'static str {
                self.name()
            }

            fn value(&self) -> Option<Value> {
                Some(Value::Text(self.name().to_owned()))
            }
        }
    };
}

reasons! {
    /// Why a node became the leader of a shard.
    ElectionReason {
        /// The shard had no leader before.
        First = "first",
        /// The leader before has handed over to this node.
        HandOver = "hand-over",
        /// This node had not heard the leader for longer than the election time-out.
        LeaderSilent = "leader-silent",
        /// This node has not heard the leader since it was started.
        NoLeaderHeard = "no-leader-heard",
        /// This node led before, and has won the election after that.
        ReElected = "re-elected",
    }
}

reasons! {
    /// Why a leader lost its leadership.
    LossReason {
        /// It has handed over.
        HandOver = "hand-over",
        /// The loop of its replica was stuck, so that it closed its lease.
        LoopStalled = "loop-stalled",
        /// Its lease had lapsed: too few nodes had answered it in time, and another one was elected.
        LeaseLapsed = "lease-lapsed",
        /// A newer term was started although the lease held, as after a change of members.
        NewerTerm = "newer-term",
    }
}

reasons! {
    /// Why a leader hands over.
    HandOverReason {
        /// An administrator requested it.
        Requested = "requested",
        /// The node stops.
        Shutdown = "shutdown",
        /// The node leaves the shard.
        Membership = "membership",
        /// The node's wall clock is far off those of the others.
        ClockOff = "clock-off",
        /// The node knows no other clock to compare its own with.
        ClockUnknown = "clock-unknown",
        /// A write to the node's log takes too long.
        DiskStalled = "disk-stalled",
        /// The node's log has failed.
        LogFailed = "log-failed",
        /// The node's replica cannot serve yet.
        NotReady = "not-ready",
    }
}

reasons! {
    /// What was done about a stuck loop.
    StallOutcome {
        /// The lease was closed; an election follows.
        LeaseClosed = "lease-closed",
        /// Nothing: no other replica could take over.
        NoOtherReplica = "no-other-replica",
    }
}

reasons! {
    /// At which step a snapshot failed.
    SnapshotFailure {
        /// Writing it.
        Write = "write",
        /// Sending it to another node.
        Send = "send",
        /// Reading it back: it is damaged, and another one or the log is used.
        Read = "read",
    }
}
