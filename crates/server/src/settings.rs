//! Settings that promise something to clients and so belong to the cluster, not to a node: users with their passwords
//! (`requirepass` is that of `default`), `durability-max-lag`.
//!
//! They are part of group 0's map ([`fastness_control::ClusterSettings`]), each change with a version. CONFIG SET of
//! one on any node proposes it to group 0's leader and answers OK when **all reachable nodes have confirmed** that they
//! go by it; else an error names those that have not.
//!
//! - A node confirms a version, in its answers to pings, once all of its replicas go by it
//!   ([`confirm_settings`](crate::shared::NodeShared::confirm_settings)).
//! - A node that has not heard group 0 for [`SETTINGS_SILENCE_MAX`](fastness_types::limits::SETTINGS_SILENCE_MAX) lets
//!   nobody in by a password ([`is_sure_of_settings`](crate::shared::NodeShared::is_sure_of_settings)). So one that
//!   cannot be reached need not be waited for longer than that: until it hears the change it accepts neither the old
//!   password nor the new one.
//! - A node that was told of newer settings than it gets serves nobody (`age.rs`), so no primary goes by older ones
//!   when a change is answered.
//! - A node's config file says what holds until the cluster has settings of its own. Group 0's leader brings its own
//!   file's values in as the first ones, once every node understands them. From then on the file's values have no
//!   effect; a difference is logged.
//! - The same with the users that a node's files define (`first_users.rs`), but any node brings its own in: the first
//!   ones count.
//! - A password is stored as its SHA-256, as Valkey's ACL stores it, and written nowhere else.
//! - A change of users is computed from the users of one version and has no effect on another one; then it is computed
//!   anew. So of two changes at once neither is lost.

mod acl_file;
mod age;
mod change;
mod first_users;
mod follow;
mod server;

#[cfg(feature = "fuzzing")]
pub use acl_file::parse_text as parse_acl_file;
pub use age::refuse_if_outdated;
pub use change::{NAMES, SettingsError, change_from, change_of, password, users_change_from};
pub use first_users::{FirstUsersError, first_users};
pub use follow::follow;
pub use server::{Answered, Proposed, SettingsServer, bring_in_first, propose_here};
