//! The table of attacks.

use anyhow::Result;

use super::outcome::AttackOutcome;
use super::target::Target;
use super::{data, wire};

macro_rules! attacks {
    ($($(#[doc = $what:literal])+ $attack:ident = $name:literal, $run:path;)+) => {
        /// One kind of attack.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Attack {
            $($(#[doc = $what])+ $attack,)+
        }

        impl Attack {
            /// All of them.
            pub const ALL: &[Attack] = &[$(Attack::$attack),+];

            /// The name on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Attack::$attack => $name,)+
                }
            }

            pub(super) async fn run(self, target: &Target) -> Result<AttackOutcome> {
                match self {
                    $(Attack::$attack => $run(target).await,)+
                }
            }
        }
    };
}

attacks! {
    /// A pipeline that is written completely before a reply is read.
    UnreadPipeline = "unread-pipeline", wire::unread_pipeline;
    /// A pipeline, and then the end of the stream: every reply must arrive.
    HalfClosed = "half-closed", wire::half_closed;
    /// Connections that request large values and never read.
    NeverReads = "never-reads", wire::never_reads;
    /// As many connections as allowed, and more.
    ConnectionFlood = "connection-flood", wire::connection_flood;
    /// HTTP requests with commands in their bodies.
    Http = "http", wire::http;
    /// Many clients in WAIT for more replicas than there are.
    WaitFlood = "wait-flood", wire::wait_flood;
    /// Many requests for the digest of all data, whose senders disconnect.
    DigestFlood = "digest-flood", wire::digest_flood;
    /// A string of up to the maximum length, by SETRANGE.
    HugeString = "huge-string", data::huge_string;
    /// A hash with very many fields, which is read whole and removed at once.
    HugeHash = "huge-hash", data::huge_hash;
    /// Very many keys, removed at once.
    FreeMany = "free-many", data::free_many;
    /// A pipeline of KEYS over many keys, whose sender disconnects.
    KeysPipeline = "keys-pipeline", data::keys_pipeline;
    /// Many keys, three of them with names of 24 MiB, that expire in the same millisecond.
    MassExpiry = "mass-expiry", data::mass_expiry;
    /// RESTORE of payloads that expand eighty times.
    RestoreBomb = "restore-bomb", data::restore_bomb;
    /// A transaction of very many commands, and of large ones.
    LargeTransaction = "large-transaction", data::large_transaction;
    /// A transaction whose effects are forty times as long as its arguments.
    GrowingTransaction = "growing-transaction", data::growing_transaction;
}

impl Attack {
    /// The attack with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Attack> {
        Attack::ALL.iter().copied().find(|attack| attack.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_has_a_name_of_its_own() {
        for &attack in Attack::ALL {
            assert_eq!(Attack::from_name(attack.name()), Some(attack));
        }
    }
}
