//! The table of events: each kind with its stable name, its level, the sentence of its log line, and its fields.
//!
//! Fields that several kinds share: `shard` (0: the control plane), `term` (of the shard), `reason` (a stable name, or
//! the text of an error), `peer` (the node at the other end). A new kind is one entry here, and one line in
//! `deploy/EVENTS.md`, which a test compares.

use fastness_types::{Durability, GroupId, LogIndex, NodeId};

use crate::field::{Field, Value};
use crate::reason::{ElectionReason, HandOverReason, LossReason, SnapshotFailure, StallOutcome};

/// What is known of a kind of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindFacts {
    /// The kind.
    pub kind: Kind,
    /// Its stable name.
    pub name: &'static str,
    /// The level of its log line.
    pub level: tracing::Level,
    /// The sentence of its log line.
    pub sentence: &'static str,
    /// The names of its fields, in order.
    pub fields: &'static [&'static str],
}

/// Defines [`Event`] and [`Kind`].
macro_rules! events {
    ($(
        $(#[$doc:meta])*
        $event:ident = $name:literal, $level:ident, $sentence:literal {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        }
    )*) => {
        /// Something that an operator may ask about afterwards.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Event {
            $($(#[$doc])* $event { $($(#[$field_doc])* $field: $type,)* },)*
        }

        /// The kinds of events.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $event,)*
        }

        impl Kind {
            /// The table, in the order of [`Kind`].
            pub const TABLE: &[KindFacts] = &[$(
                KindFacts {
                    kind: Kind::$event,
                    name: $name,
                    level: tracing::Level::$level,
                    sentence: $sentence,
                    fields: &[$(stringify!($field)),*],
                },
            )*];
        }

        impl Event {
            /// The kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self {
                    $(Event::$event { .. } => Kind::$event,)*
                }
            }

            /// The fields that apply, in the order of the table.
            #[must_use]
            pub fn fields(&self) -> Vec<(&'static str, Value)> {
                match self {
                    $(Event::$event { $($field),* } => {
                        let all: Vec<(&'static str, Option<Value>)> = vec![$((stringify!($field), $field.value())),*];
                        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
                    })*
                }
            }

            /// Writes the log line.
            pub(crate) fn log(&self) {
                match self {
                    $(Event::$event { $($field),* } => tracing::event!(
                        tracing::Level::$level,
                        event = $name,
                        $($field = $field.logged(),)*
                        $sentence
                    ),)*
                }
            }
        }
    };
}

impl Kind {
    /// What is known of the kind.
    #[must_use]
    pub fn facts(self) -> &'static KindFacts {
        &Kind::TABLE[self as usize]
    }

    /// The kind with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Kind> {
        Kind::TABLE.iter().find(|facts| facts.name == name).map(|facts| facts.kind)
    }
}

events! {
    // ---- leadership ------------------------------------------------------------------------------------------------

    /// This node was elected leader of a shard.
    Elected = "elected", INFO, "elected leader" {
        /// The shard.
        shard: GroupId,
        /// The term that this node leads.
        term: u64,
        /// Why there was an election.
        reason: ElectionReason,
        /// The leader before, as this node knew it.
        leader_before: Option<NodeId>,
        /// How long this node had not heard that leader, in ms.
        silent_ms: Option<u64>,
    }
    /// This node serves a shard as its primary.
    Primary = "primary", INFO, "serving as primary" {
        /// The shard.
        shard: GroupId,
        /// The term.
        term: u64,
        /// The applied log position.
        index: LogIndex,
    }
    /// This node leads a shard no longer.
    LeadershipLost = "leadership_lost", WARN, "leadership lost" {
        /// The shard.
        shard: GroupId,
        /// The term that this node led.
        term: u64,
        /// Why.
        reason: LossReason,
        /// The newer term.
        term_after: u64,
        /// The node that leads it, or stands for election in it.
        peer: NodeId,
    }
    /// The lease of a leading node has lapsed: it serves nothing until it is renewed.
    LeaseLost = "lease_lost", WARN, "the lease has lapsed; nothing is served until a quorum answers" {
        /// The shard.
        shard: GroupId,
        /// The term.
        term: u64,
    }
    /// The lease is held again, in the same term.
    LeaseRegained = "lease_regained", INFO, "the lease is held again" {
        /// The shard.
        shard: GroupId,
        /// The term.
        term: u64,
        /// How long it was not held, in ms.
        lapsed_ms: u64,
    }
    /// This node has handed over the leadership of a shard.
    HandedOver = "handed_over", INFO, "leadership handed over" {
        /// The shard.
        shard: GroupId,
        /// The term that this node led.
        term: u64,
        /// Why.
        reason: HandOverReason,
        /// The node that leads now.
        peer: NodeId,
    }
    /// A hand-over did not reach its goal.
    HandOverFailed = "hand_over_failed", WARN, "leadership not handed over" {
        /// The shard.
        shard: GroupId,
        /// Why it was to be handed over.
        reason: HandOverReason,
        /// Why that failed.
        error: String,
    }
    /// A follower does not hear its leader.
    LeaderSilent = "leader_silent", WARN, "the leader is silent" {
        /// The shard.
        shard: GroupId,
        /// The term of that leader.
        term: u64,
        /// The leader.
        peer: NodeId,
        /// How long it was not heard, in ms.
        silent_ms: u64,
    }
    /// A replica has undone writes that did not commit before it lost its leadership.
    WritesUndone = "writes_undone", WARN, "leadership was lost with uncommitted effects: what did not commit is undone" {
        /// The shard.
        shard: GroupId,
        /// The term in which they were staged.
        term: u64,
        /// How many units of writes.
        units: u64,
        /// Whether undo records sufficed; otherwise memory is restored from snapshot and log.
        by_records: bool,
    }

    // ---- stalls ----------------------------------------------------------------------------------------------------

    /// The loop of a replica does not iterate.
    LoopStalled = "loop_stalled", ERROR, "the loop of a replica is stuck" {
        /// The shard.
        shard: GroupId,
        /// The term.
        term: u64,
        /// How long it has not iterated, in ms.
        stalled_ms: u64,
        /// The command that it runs.
        running: &'static str,
        /// What was done about it.
        outcome: StallOutcome,
    }
    /// The loop of a replica iterates again.
    LoopRecovered = "loop_recovered", WARN, "the loop of a replica has recovered" {
        /// The shard.
        shard: GroupId,
        /// How long it had not iterated, in ms.
        stalled_ms: u64,
    }
    /// The node's consensus did not run: the process was stopped, or the machine is overloaded.
    ConsensusStalled = "consensus_stalled", WARN,
        "consensus did not run for a while: the process was stopped, or the machine is overloaded" {
        /// For how long, in ms.
        stalled_ms: u64,
    }
    /// A write to the log takes too long.
    DiskStalled = "disk_stalled", WARN, "log disk stalled; this node hands over leadership until it recovers" {
        /// How long the write has taken so far, in ms.
        stalled_ms: u64,
    }
    /// Writes to the log complete in time again.
    DiskRecovered = "disk_recovered", INFO, "log disk recovered" {
        /// How long the disk was stalled, in ms.
        stalled_ms: u64,
    }
    /// The log has failed: the node hands over and stops.
    LogFailed = "log_failed", ERROR, "the log has failed: leadership is handed over" {
        /// The error.
        reason: String,
    }
    /// Consensus on this node has stopped for good.
    ConsensusStopped = "consensus_stopped", ERROR, "consensus stops" {
        /// Why.
        reason: String,
    }
    /// This node's wall clock is far off those of the other nodes.
    ClockOff = "clock_off", ERROR,
        "this node's wall clock is far off the median of its peers': it stages nothing and hands over leadership \
         until the clock is right (is NTP running?)" {
        /// How far it is ahead of the median, in ms.
        offset_ms: i64,
        /// How far it may be, in ms.
        bound_ms: u64,
    }
    /// No majority of the nodes' wall clocks agrees.
    ClocksDisagree = "clocks_disagree", ERROR,
        "the nodes' wall clocks differ, and no more than half of them agree: nobody can say which is right, so this node \
         stages nothing until they do (is NTP running?)" {
        /// How many clocks were compared.
        clocks: u64,
        /// How far they may differ, in ms.
        bound_ms: u64,
    }
    /// This node's wall clock can be trusted again.
    ClockTrusted = "clock_trusted", INFO, "this node's wall clock agrees with its peers'" {
        /// How far it is ahead of the median, in ms.
        offset_ms: i64,
    }

    // ---- the lag gate ----------------------------------------------------------------------------------------------

    /// The durability lag nears its bound: writes are slowed.
    WritesSlowed = "writes_slowed", WARN, "the log is behind: writes are slowed" {
        /// The shard.
        shard: GroupId,
        /// The age of the oldest uncommitted effect, in ms.
        lag_ms: u64,
        /// `durability-max-lag`, in ms.
        bound_ms: u64,
    }
    /// The durability lag has reached its bound: writes are refused.
    WritesRefused = "writes_refused", WARN, "the log is too far behind: writes are refused" {
        /// The shard.
        shard: GroupId,
        /// The age of the oldest uncommitted effect, in ms.
        lag_ms: u64,
        /// `durability-max-lag`, in ms.
        bound_ms: u64,
    }
    /// Writes are accepted without delay again.
    WritesAccepted = "writes_accepted", INFO, "the log has caught up: writes are accepted" {
        /// The shard.
        shard: GroupId,
        /// The age of the oldest uncommitted effect, in ms.
        lag_ms: u64,
    }

    // ---- peers and members -----------------------------------------------------------------------------------------

    /// A node that connected is refused.
    PeerRefused = "peer_refused", WARN, "a peer is refused" {
        /// The node.
        peer: NodeId,
        /// Why.
        reason: String,
    }
    /// A peer cannot be reached.
    PeerUnreachable = "peer_unreachable", WARN, "a peer cannot be reached; retrying" {
        /// The peer.
        peer: NodeId,
        /// Why.
        reason: String,
    }
    /// A peer is reached again.
    PeerReached = "peer_reached", INFO, "a peer is reached again" {
        /// The peer.
        peer: NodeId,
    }
    /// A peer answers too slowly for writes to commit.
    PeerSlow = "peer_slow", WARN,
        "a peer answers too slowly: if most do, no write commits; failover-timeout allows for longer round trips" {
        /// The peer.
        peer: NodeId,
        /// The round trip, in ms.
        round_trip_ms: u64,
        /// The longest one with which writes commit, in ms.
        bound_ms: u64,
    }
    /// A peer answers in time again.
    PeerInTime = "peer_in_time", INFO, "the peer answers in time again" {
        /// The peer.
        peer: NodeId,
        /// The round trip, in ms.
        round_trip_ms: u64,
    }
    /// The members of a shard change.
    MembersChanged = "members_changed", INFO, "the group's members change" {
        /// The shard.
        shard: GroupId,
        /// The change.
        change: String,
    }
    /// The replacement of a node has started.
    ReplacementStarted = "replacement_started", INFO, "a node is being replaced" {
        /// The node that leaves.
        old: NodeId,
        /// The node that takes its place.
        new: NodeId,
    }
    /// The replacement of a node is complete.
    ReplacementFinished = "replacement_finished", INFO,
        "the replacement of a node is complete: every group has the new node" {
        /// The node that took the place.
        new: NodeId,
    }

    // ---- snapshots and restores ------------------------------------------------------------------------------------

    /// A replica has written a snapshot.
    SnapshotWritten = "snapshot_written", INFO, "a snapshot is written" {
        /// The shard.
        shard: GroupId,
        /// Its log position.
        index: LogIndex,
        /// Its keys; not for the control plane.
        keys: Option<u64>,
        /// Its size, in bytes.
        bytes: u64,
    }
    /// A snapshot was sent to a replica that lacks a part of the log, and installed there.
    SnapshotSent = "snapshot_sent", INFO, "a snapshot was sent, and the receiver has installed it" {
        /// The shard.
        shard: GroupId,
        /// Its log position.
        index: LogIndex,
        /// Its size, in bytes.
        bytes: u64,
        /// The receiver.
        peer: NodeId,
    }
    /// A snapshot was received.
    SnapshotReceived = "snapshot_received", INFO, "a snapshot was received" {
        /// The shard.
        shard: GroupId,
        /// Its log position.
        index: LogIndex,
        /// Its size, in bytes.
        bytes: u64,
    }
    /// A snapshot could not be written, sent or read.
    SnapshotFailed = "snapshot_failed", ERROR, "a snapshot has failed" {
        /// The shard.
        shard: GroupId,
        /// At which step.
        step: SnapshotFailure,
        /// Its log position, if it is known.
        index: Option<LogIndex>,
        /// The error.
        reason: String,
    }
    /// A replica outside of the cluster was sent all data of a shard.
    OutboundSent = "outbound_sent", INFO, "a replica outside of the cluster was sent all data" {
        /// The shard.
        shard: GroupId,
        /// Its address.
        reader: String,
        /// The log position of the data.
        index: LogIndex,
        /// Number of keys.
        keys: u64,
    }
    /// The stream to a replica outside of the cluster has ended.
    OutboundEnded = "outbound_ended", WARN, "the stream to a replica outside of the cluster has ended" {
        /// The shard.
        shard: GroupId,
        /// Its address.
        reader: String,
        /// Why.
        reason: String,
    }
    /// A replica outside of the cluster is not sent the deadlines of fields of hashes, because its version does not
    /// know them.
    OutboundWithoutDeadlines = "outbound_without_deadlines", WARN,
        "a replica outside of the cluster is not sent the deadlines of fields: its version does not know them" {
        /// The shard.
        shard: GroupId,
        /// Its address.
        reader: String,
    }
    /// Memory of a replica equals the log again, after a start, an undo or an installed snapshot.
    MemoryRestored = "memory_restored", INFO, "memory is restored" {
        /// The shard.
        shard: GroupId,
        /// The applied log position.
        index: LogIndex,
    }
    /// A replica has stopped because of a fatal error.
    ReplicaStopped = "replica_stopped", ERROR, "the replica stops" {
        /// The shard.
        shard: GroupId,
        /// Why.
        reason: String,
    }

    // ---- settings, users, certificates -----------------------------------------------------------------------------

    /// The cluster was created.
    ClusterCreated = "cluster_created", INFO, "the cluster has been created" {
        /// Its nodes.
        nodes: u64,
        /// Its shards.
        shards: u64,
        /// The durability mode.
        mode: Durability,
    }
    /// An operator desires another durability mode.
    ModeDesired = "mode_desired", INFO, "the desired durability mode has changed" {
        /// The mode before.
        from: Durability,
        /// The desired mode.
        to: Durability,
    }
    /// A durability mode has committed in a shard's log: it is in force there, whichever node is elected.
    ModeInForce = "mode_in_force", INFO, "the durability mode is in force" {
        /// The shard.
        shard: GroupId,
        /// The mode.
        mode: Durability,
        /// The version of the cluster's map that desires it.
        version: u64,
    }
    /// A bound of the durability lag has committed in a shard's log.
    LagBoundInForce = "lag_bound_in_force", INFO, "durability-max-lag is in force" {
        /// The shard.
        shard: GroupId,
        /// The bound, in ms.
        bound_ms: u64,
        /// The version of the settings that desires it.
        version: u64,
    }
    /// Settings of the cluster have changed.
    SettingsChanged = "settings_changed", INFO, "the settings of the cluster have changed" {
        /// The names of the options.
        options: String,
        /// The version of the settings.
        version: u64,
    }
    /// Options of this node were changed with CONFIG SET.
    OptionsChanged = "options_changed", INFO, "options of this node have changed" {
        /// The names of the options.
        options: String,
        /// The user who changed them.
        user: String,
    }
    /// Users were added, changed or deleted.
    UsersChanged = "users_changed", INFO, "users have changed" {
        /// The names of the users that were added or changed.
        changed: String,
        /// The names of the users that were deleted.
        deleted: String,
        /// The version of the settings.
        version: u64,
    }
    /// New TLS files are in use.
    CertificatesReloaded = "certificates_reloaded", INFO, "new connections use the new TLS files" {
        /// The serial number of the node's certificate.
        serial: String,
        /// The days until it expires.
        expires_in_days: i64,
    }
    /// The TLS files have changed and are not usable.
    CertificatesRefused = "certificates_refused", ERROR,
        "the TLS files have changed and are not usable: those before stay in use" {
        /// Why.
        reason: String,
    }
    /// The node's certificate expires soon, or has expired.
    CertificateExpires = "certificate_expires", WARN,
        "this node's certificate expires soon, or has expired: replace it" {
        /// Its serial number.
        serial: String,
        /// The seconds until it expires; negative: it has expired.
        seconds_left: i64,
    }

    /// The disk of this node is under a new master key.
    MasterKeyRotated = "master_key_rotated", INFO, "the disk is under a new master key" {
        /// The fingerprint of the key before.
        from: String,
        /// The fingerprint of the new key.
        to: String,
    }
    /// A rotation of the master key is incomplete: both keys are needed until it is repeated.
    MasterKeyIncomplete = "master_key_incomplete", ERROR,
        "a rotation of the master key is incomplete: repeat it, and keep both keys until then" {
        /// The fingerprint of the key in force.
        fingerprint: String,
        /// The step that failed, with the error.
        reason: String,
    }
    /// A rotation of the master key that was incomplete is complete: the old key is no longer needed.
    MasterKeyCompleted = "master_key_completed", INFO, "an interrupted rotation of the master key is complete" {
        /// The fingerprint of the key in force.
        fingerprint: String,
    }

    // ---- the node --------------------------------------------------------------------------------------------------

    /// The node has started.
    NodeStarted = "node_started", INFO, "node started" {
        /// The version of the program.
        version: &'static str,
    }
    /// The node was asked to stop: it hands over and ends.
    NodeStops = "node_stops", INFO, "the node hands over and stops" {}
    /// The node cannot continue.
    NodeFailed = "node_failed", ERROR, "the node must stop" {
        /// Why.
        reason: String,
    }
    /// Disk usage nears its budget, or is above it.
    DiskPressure = "disk_pressure", WARN,
        "disk usage is close to disk-budget or above it: files that are not needed are removed" {
        /// How near: `near` or `exceeded`.
        pressure: &'static str,
        /// The budget, in bytes.
        budget_bytes: u64,
        /// What is used of it, in bytes.
        used_bytes: u64,
        /// Free space of the file system, in bytes.
        free_bytes: u64,
    }
    /// Disk usage is within its budget again.
    DiskWithinBudget = "disk_within_budget", INFO, "disk usage is within the budget again" {
        /// The budget, in bytes.
        budget_bytes: u64,
        /// What is used of it, in bytes.
        used_bytes: u64,
        /// Free space of the file system, in bytes.
        free_bytes: u64,
    }
    /// A lab has set a fault, or removed it.
    LabFault = "lab_fault", WARN, "LAB: a fault was injected or removed" {
        /// Where, and which fault.
        fault: String,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds_and_names_are_unique() {
        for (at, facts) in Kind::TABLE.iter().enumerate() {
            assert_eq!(facts.kind as usize, at);
            assert_eq!(Kind::named(facts.name), Some(facts.kind));
            assert_eq!(facts.kind.facts(), facts);
            let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(is_plain(facts.name) && facts.fields.iter().all(|field| is_plain(field)), "{facts:?}");
        }
        let names: BTreeSet<_> = Kind::TABLE.iter().map(|facts| facts.name).collect();
        assert_eq!(names.len(), Kind::TABLE.len());
        assert_eq!(Kind::named("nothing"), None);
    }

    #[test]
    fn the_documentation_has_each_kind_with_its_level_and_fields() {
        let page = include_str!("../../../deploy/EVENTS.md");
        for facts in Kind::TABLE {
            let start = format!("| `{}` | {} |", facts.name, facts.level);
            let row = page.lines().find(|line| line.starts_with(&start));
            let row = row.unwrap_or_else(|| panic!("deploy/EVENTS.md has no row {start}"));
            let fields = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
            let named: Vec<_> = fields.split("<br>").filter_map(|field| field.split('`').nth(1)).collect();
            assert_eq!(named, facts.fields, "{}", facts.name);
        }
        assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), Kind::TABLE.len());
    }

    #[test]
    fn fields_that_do_not_apply_are_left_out() {
        let event = Event::Elected {
            shard: GroupId(2),
            term: 7,
            reason: ElectionReason::First,
            leader_before: None,
            silent_ms: None,
        };
        assert_eq!(
            event.fields(),
            vec![
                ("shard", Value::Unsigned(2)),
                ("term", Value::Unsigned(7)),
                ("reason", Value::Text("first".to_owned()))
            ]
        );
        assert_eq!(Event::NodeStops {}.fields(), vec![]);
    }
}
