//! Makes this node follow the settings in a new map.

use std::sync::Arc;

use fastness_control::{ClusterMap, ClusterSettings, Users};

use super::change::password;
use crate::accounts::DEFAULT_USER;
use crate::config::Config;
use crate::shared::NodeShared;

/// Makes a new map this node's, with the settings in it.
pub fn follow(node: &NodeShared, map: &Arc<ClusterMap>, file: &Config) {
    let known = node.settings();
    if map.settings.version > known.version {
        compare_with_file(&map.settings, file);
        if let Some(lag) = map.settings.max_lag {
            // What CONFIG GET and INFO show, and with what a replica starts.
            node.config.rcu(|config| Config { durability_max_lag: lag.bound, ..(**config).clone() });
        }
    }
    if known.users.version == 0 && map.settings.users.version > 0 {
        compare_users(&map.settings.users, node.first_users());
    }
    node.map.store(Some(map.clone()));
    node.follow_users();
    node.confirm_settings();
}

/// Tells the log once where the config file has no effect.
fn compare_with_file(settings: &ClusterSettings, file: &Config) {
    let mut different = Vec::new();
    // Once the cluster has rules for it, its password is one of them.
    let of_default = settings.password.as_ref().filter(|_| !settings.users.rules.contains_key(DEFAULT_USER));
    if of_default.is_some_and(|rule| *rule != password(&file.requirepass)) {
        different.push("requirepass");
    }
    if settings.max_lag.is_some_and(|lag| lag.bound != file.durability_max_lag) {
        different.push("durability-max-lag");
    }
    if !different.is_empty() {
        tracing::warn!(
            options = different.join(", "),
            version = settings.version,
            "options in the config file differ from the cluster's settings, which apply; CONFIG SET changes those on all nodes"
        );
    }
}

/// Tells the log, once per start, which users of this node's files have no effect.
fn compare_users(users: &Users, first: &Users) {
    let differs = |(name, rules): &(&String, &String)| users.rules.get(*name) != Some(*rules);
    let different: Vec<_> = first.rules.iter().filter(differs).map(|(name, _)| name.as_str()).collect();
    if !different.is_empty() {
        tracing::warn!(
            users = different.join(", "),
            version = users.version,
            "users in the files of this node differ from the cluster's, which apply; ACL SETUSER changes those on all nodes"
        );
    }
}
