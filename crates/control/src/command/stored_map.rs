//! The whole map as a snapshot has it: the form of the first map, with what commands have made of it since.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastness_types::{DiskId, NodeId};
use serde::{Deserialize, Serialize};

use super::{DecodeError, MapForm, NodeForm, Password, password_from, password_text};
use crate::map::{ClusterMap, ClusterSettings, LagBound, Replaced, Replacement, Users};

/// The stored form of a map.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredMap {
    #[serde(flatten)]
    map: MapForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replacement: Option<ReplacementForm>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replaced: Vec<ReplacedForm>,
    settings: StoredSettings,
}

#[derive(Serialize, Deserialize)]
struct ReplacementForm {
    leaving: Vec<NodeForm>,
    by: u64,
}

#[derive(Serialize, Deserialize)]
struct ReplacedForm {
    node: u64,
    disk: String,
    by: u64,
}

/// An absent field is a setting that was never made.
#[derive(Serialize, Deserialize)]
struct StoredSettings {
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    durability_max_lag: Option<LagForm>,
    users: UsersForm,
}

#[derive(Serialize, Deserialize)]
struct LagForm {
    ms: u64,
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct UsersForm {
    version: u64,
    rules: BTreeMap<String, String>,
}

impl From<&ClusterMap> for StoredMap {
    fn from(map: &ClusterMap) -> StoredMap {
        let replaced = |gone: &Replaced| ReplacedForm { node: gone.node.0, disk: gone.disk.to_string(), by: gone.by.0 };
        StoredMap {
            map: map.into(),
            replacement: map.replacement.as_ref().map(|replacement| ReplacementForm {
                leaving: replacement.leaving.iter().map(NodeForm::from).collect(),
                by: replacement.by.0,
            }),
            replaced: map.replaced.iter().map(replaced).collect(),
            settings: (&map.settings).into(),
        }
    }
}

impl From<&ClusterSettings> for StoredSettings {
    fn from(settings: &ClusterSettings) -> StoredSettings {
        let lag = |lag: LagBound| LagForm { ms: lag.bound.as_millis() as u64, version: lag.version };
        StoredSettings {
            version: settings.version,
            password_sha256: settings.password.as_ref().map(password_text),
            durability_max_lag: settings.max_lag.map(lag),
            users: UsersForm { version: settings.users.version, rules: settings.users.rules.clone() },
        }
    }
}

impl StoredMap {
    /// The map, with all invariants checked.
    pub(crate) fn into_map(self) -> Result<ClusterMap, DecodeError> {
        let replacement = self.replacement.map(ReplacementForm::into_replacement).transpose()?;
        let replaced = self.replaced.into_iter().map(ReplacedForm::into_replaced).collect::<Result<_, _>>()?;
        let settings = self.settings.into_settings()?;
        let map = ClusterMap { replacement, replaced, settings, ..self.map.into_map()? };
        map.check()?;
        Ok(map)
    }
}

impl ReplacementForm {
    fn into_replacement(self) -> Result<Replacement, DecodeError> {
        let leaving = self.leaving.into_iter().map(NodeForm::into_node).collect::<Result<_, _>>()?;
        Ok(Replacement { leaving, by: NodeId(self.by) })
    }
}

impl ReplacedForm {
    fn into_replaced(self) -> Result<Replaced, DecodeError> {
        let disk = self.disk.parse::<DiskId>().map_err(|error| DecodeError::Malformed(error.to_string()))?;
        Ok(Replaced { node: NodeId(self.node), disk, by: NodeId(self.by) })
    }
}

impl StoredSettings {
    fn into_settings(self) -> Result<ClusterSettings, DecodeError> {
        let password: Option<Password> = self.password_sha256.as_deref().map(password_from).transpose()?;
        let lag = |lag: LagForm| LagBound { bound: Duration::from_millis(lag.ms), version: lag.version };
        Ok(ClusterSettings {
            version: self.version,
            password,
            max_lag: self.durability_max_lag.map(lag),
            users: Arc::new(Users { version: self.users.version, rules: self.users.rules }),
        })
    }
}
