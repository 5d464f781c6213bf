//! The cache of scripts: those that EVAL has brought are evicted, the others stay until SCRIPT FLUSH.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::options::Origin;
use crate::script::{ScriptFlags, Sha};

/// Scripts that EVAL has brought; one more evicts the one that was not used for longest.
const EVAL_SCRIPTS_MAX: usize = 500;
/// Bytes that one script takes beside its source, about.
const OVERHEAD_BYTES: usize = 256;

/// A compiled script or function in a Lua state. It is gone when the state was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compiled {
    /// Which of the states that followed one another.
    pub(crate) generation: u64,
    /// Its number in that state.
    pub(crate) number: u64,
}

/// A script of the cache.
#[derive(Debug)]
pub(crate) struct Cached {
    pub(crate) source: Arc<[u8]>,
    pub(crate) flags: ScriptFlags,
    pub(crate) compiled: Option<Compiled>,
    /// When it was used last, if it may be evicted.
    used: Option<u64>,
}

/// Scripts by the hash of their source.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    scripts: HashMap<Sha, Cached>,
    /// Those that may be evicted, by their last use.
    by_use: BTreeMap<u64, Sha>,
    uses: u64,
    bytes: usize,
}

fn size(source: &[u8]) -> usize {
    source.len() + OVERHEAD_BYTES
}

impl Cache {
    pub(crate) fn len(&self) -> usize {
        self.scripts.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, sha: Sha) -> Option<&Cached> {
        self.scripts.get(&sha)
    }

    pub(crate) fn get_mut(&mut self, sha: Sha) -> Option<&mut Cached> {
        self.scripts.get_mut(&sha)
    }

    /// Finds a script for its use.
    pub(crate) fn touch(&mut self, sha: Sha) -> Option<&mut Cached> {
        let script = self.scripts.get_mut(&sha)?;
        if let Some(used) = &mut script.used {
            self.uses += 1;
            self.by_use.remove(used);
            *used = self.uses;
            self.by_use.insert(self.uses, sha);
        }
        Some(script)
    }

    /// Keeps a script that SCRIPT LOAD has named, whoever brought it; whether it is there.
    pub(crate) fn promote(&mut self, sha: Sha) -> bool {
        let Some(script) = self.scripts.get_mut(&sha) else { return false };
        if let Some(used) = script.used.take() {
            self.by_use.remove(&used);
        }
        true
    }

    /// Whether a script of this size has a place, next to those that cannot be evicted.
    pub(crate) fn has_room(&self, source: &[u8], bytes_max: usize) -> bool {
        let evictable: usize = self.by_use.values().filter_map(|sha| self.get(*sha)).map(|s| size(&s.source)).sum();
        self.bytes - evictable + size(source) <= bytes_max
    }

    /// Adds a script, and evicts what has to go for it: those are returned.
    pub(crate) fn insert(
        &mut self,
        sha: Sha,
        (source, flags): (&[u8], ScriptFlags),
        origin: Origin,
        compiled: Compiled,
        bytes_max: usize,
    ) -> Vec<Compiled> {
        let mut evicted = Vec::new();
        let added = usize::from(origin == Origin::Eval);
        while self.by_use.len() + added > EVAL_SCRIPTS_MAX || self.bytes + size(source) > bytes_max {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            if let Some(script) = self.scripts.remove(&oldest) {
                self.bytes -= size(&script.source);
                evicted.extend(script.compiled);
            }
        }
        let used = (origin == Origin::Eval).then(|| {
            self.uses += 1;
            self.by_use.insert(self.uses, sha);
            self.uses
        });
        self.bytes += size(source);
        self.scripts.insert(sha, Cached { source: source.into(), flags, compiled: Some(compiled), used });
        evicted
    }
}
