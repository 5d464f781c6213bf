//! The libraries of functions (FUNCTION LOAD) of one shard: a name and its code.
//!
//! They are data as keys are, but no key: FLUSHALL leaves them. The engine stores code and runs none of it. There are
//! few of them and they change rarely, so a set of libraries is immutable and shared: an image in progress and each
//! undo record have the set as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::digest::Running;

/// What an entry of the map takes beside the bytes of name and code.
const ENTRY_BYTES: usize = 96;
/// The number of "type" in the digest of a library: no type of values has it.
const DIGEST_TYPE: u8 = 0xff;

/// What a library is, beside its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its code, with the first line that names it.
    pub code: Arc<[u8]>,
    /// The functions that the code registers, encoded ([`crate::functions::spec`]).
    pub functions: Arc<[u8]>,
}

/// All libraries at one point in time.
#[derive(Debug, Clone, Default)]
pub struct Libraries {
    by_name: Arc<BTreeMap<Box<[u8]>, Library>>,
    bytes: usize,
}

impl Library {
    /// What it takes, bytes.
    #[must_use]
    pub fn bytes(&self, name: &[u8]) -> usize {
        name.len() + self.code.len() + self.functions.len() + ENTRY_BYTES
    }
}

impl Libraries {
    /// The library of a name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Library> {
        self.by_name.get(name)
    }

    /// All libraries with their names, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Library)> {
        self.by_name.iter().map(|(name, library)| (&**name, library))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// What they take, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing has changed between the two. `false` says little: a change may have been reverted.
    #[must_use]
    pub fn is_same(&self, other: &Libraries) -> bool {
        Arc::ptr_eq(&self.by_name, &other.by_name)
    }

    /// What undo records of one change hold, bytes.
    pub(super) fn held(&self) -> usize {
        size_of::<Libraries>() + self.len() * ENTRY_BYTES
    }

    /// These, with one more or with other code.
    #[must_use]
    pub fn with(&self, name: &[u8], code: &[u8], functions: &[u8]) -> Libraries {
        let library = Library { code: code.into(), functions: functions.into() };
        self.changed(|by_name| _ = by_name.insert(name.into(), library))
    }

    /// These without one.
    #[must_use]
    pub fn without(&self, name: &[u8]) -> Libraries {
        self.changed(|by_name| _ = by_name.remove(name))
    }

    fn changed(&self, change: impl FnOnce(&mut BTreeMap<Box<[u8]>, Library>)) -> Libraries {
        let mut by_name = BTreeMap::clone(&self.by_name);
        change(&mut by_name);
        let bytes = by_name.iter().map(|(name, library)| library.bytes(name)).sum();
        Libraries { by_name: Arc::new(by_name), bytes }
    }

    /// Their part of the digest of all data.
    pub(crate) fn digest(&self) -> u128 {
        self.iter().fold(0, |sum, (name, library)| sum.wrapping_add(digest_of(name, library)))
    }
}

fn digest_of(name: &[u8], library: &Library) -> u128 {
    let mut digest = Running::of_name(name.len());
    digest.bytes(name);
    digest.key_is_whole(None, DIGEST_TYPE);
    digest.text(&library.code, true);
    digest.text(&library.functions, true);
    digest.end()
}
