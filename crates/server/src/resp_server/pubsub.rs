//! Channels and their subscribers on one replica, as Valkey has them.
//!
//! ```text
//! PUBLISH ─▶ channels: who receives it, how many ─▶ deliveries: in slices ─▶ a subscriber's pushes ─▶ its connection
//! EXEC ─▶ awaiting: until the transaction has committed ─▶ the same
//! ```
//!
//! Rules:
//! - A message is encoded once for each version of the protocol and each pattern, and shared by its receivers.
//! - A message goes to the subscribers of the moment at which it was published, in the order in which messages were
//!   published here or arrived. Whoever has unsubscribed meanwhile does not get it.
//! - Few receivers get a message at once. Many get it in slices, between which others run; later messages wait behind.
//! - A message that a transaction publishes leaves once the transaction has committed, and never if it is undone. What
//!   the same connection publishes after it leaves after it.
//! - A subscriber that does not read is closed at `client-output-buffer-limit pubsub`.
//!
//! - [`subscriptions`]: those of one connection. [`channels`]: those of all. [`encoded`]: a message for its receivers.
//! - [`deliveries`], [`awaiting`]: what waits. `publish`: the way of a message. `notify`: keyspace notifications.
//! - [`monitors`]: who sees every command of this replica; `show` passes them on.
//!
//! How messages reach other replicas and nodes is [`crate::publications`]'s.

pub mod awaiting;
pub mod channels;
pub mod deliveries;
pub mod encoded;
pub mod monitors;
mod notify;
pub(crate) mod publish;
mod show;
pub mod subscriptions;

use awaiting::AwaitingCommit;
use channels::Channels;
use deliveries::Deliveries;
use monitors::Monitors;

/// Channels of one replica. On the loop's thread.
#[derive(Default)]
pub struct Pubsub {
    /// Who is subscribed.
    pub channels: Channels,
    /// Messages that are being delivered.
    pub(super) deliveries: Deliveries,
    /// Messages of transactions that have not committed.
    pub(super) awaiting: AwaitingCommit,
    /// Who has sent MONITOR.
    pub monitors: Monitors,
}
