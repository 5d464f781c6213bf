//! What encryption at rest needs at run time: the master keys of a node, shared by its log and its snapshot folders,
//! and a random source.
//!
//! The master key can be exchanged while the node runs. The steps, each of which survives a crash:
//!
//! 1. The log writes **one** synced batch (`keyring.rs`): every data key wrapped by the new master key, a new data key
//!    for all later records, the identity record under the new key, and the retired key's wrapping subkey, sealed under
//!    the new key (`retired.rs`). Before this batch the old key alone opens everything, after it the new key alone.
//! 2. The new key is used for new snapshot files, and the header of each existing snapshot file is replaced
//!    ([`crate::SnapshotFolder::rewrap_all`]). Files that still have their old header open by the retired subkey.
//! 3. The log removes the record of the retired key. From then on nothing on the disk needs the old key.
//!
//! No entry and no snapshot is encrypted again.

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};
use ring::rand::{SecureRandom, SystemRandom};

use crate::master_key::{Fingerprint, MasterKey, WrappingKey};

/// Fills bytes with unpredictable random values. A simulation passes its own source.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

struct InUse {
    master: Arc<MasterKey>,
    /// When the master key was taken into use, in seconds since the Unix epoch; 0: not known.
    since_s: u64,
    /// A key that is tried if the disk is not under `master`. Dropped when the log is opened.
    alternative: Option<Arc<MasterKey>>,
    /// The subkey of the master key before, until nothing needs it.
    retired: Option<Arc<WrappingKey>>,
}

struct SharedKeys {
    keys: RwLock<InUse>,
    /// Held while the header of a snapshot file is read or replaced, and while such a file gets or loses its name.
    headers: Mutex<()>,
}

/// The master keys of a node. Clones are the same keys.
#[derive(Clone)]
pub struct MasterKeys {
    shared: Arc<SharedKeys>,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKeys({})", self.fingerprint())
    }
}

impl MasterKeys {
    fn new(master: MasterKey) -> MasterKeys {
        let keys = InUse { master: Arc::new(master), since_s: 0, alternative: None, retired: None };
        MasterKeys { shared: Arc::new(SharedKeys { keys: RwLock::new(keys), headers: Mutex::new(()) }) }
    }

    /// The key in force.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.shared.keys.read().master.fingerprint()
    }

    /// When it was taken into use on this disk, in seconds since the Unix epoch; 0 if that is not known.
    #[must_use]
    pub fn since_s(&self) -> u64 {
        self.shared.keys.read().since_s
    }

    /// The key before it, as long as snapshot files may need it.
    #[must_use]
    pub fn retired(&self) -> Option<Fingerprint> {
        self.shared.keys.read().retired.as_ref().map(|retired| retired.fingerprint)
    }

    pub(crate) fn master(&self) -> Arc<MasterKey> {
        self.shared.keys.read().master.clone()
    }

    /// The key that wraps under this fingerprint.
    pub(crate) fn wrapping_by(&self, fingerprint: Fingerprint) -> Option<Arc<WrappingKey>> {
        let keys = self.shared.keys.read();
        let masters = [Some(&keys.master), keys.alternative.as_ref()].into_iter().flatten();
        let wrapping = masters.map(|master| &master.wrapping).chain(&keys.retired);
        wrapping.into_iter().find(|wrapping| wrapping.fingerprint == fingerprint).cloned()
    }

    /// Selects the key that a disk is under; `None` if it is neither of those given.
    pub(crate) fn select(&self, fingerprint: Fingerprint) -> Option<Arc<MasterKey>> {
        let mut keys = self.shared.keys.write();
        if keys.master.fingerprint() != fingerprint {
            let alternative = keys.alternative.take_if(|key| key.fingerprint() == fingerprint)?;
            let master = std::mem::replace(&mut keys.master, alternative);
            // Until the log is open: it knows whether snapshots need this one.
            keys.alternative = Some(master);
        }
        Some(keys.master.clone())
    }

    /// Notes what the opened log knows of the keys.
    pub(crate) fn opened(&self, since_s: u64, retired: Option<WrappingKey>) {
        let mut keys = self.shared.keys.write();
        (keys.since_s, keys.alternative, keys.retired) = (since_s, None, retired.map(Arc::new));
    }

    /// Uses another master key; the log has stored that.
    pub(crate) fn replace(&self, master: Arc<MasterKey>, since_s: u64) {
        let mut keys = self.shared.keys.write();
        let retired = std::mem::replace(&mut keys.master, master);
        (keys.since_s, keys.retired) = (since_s, Some(retired.wrapping.clone()));
    }

    /// Forgets the retired key; the log has stored that.
    pub(crate) fn forget_retired(&self) {
        self.shared.keys.write().retired = None;
    }

    pub(crate) fn lock_headers(&self) -> MutexGuard<'_, ()> {
        self.shared.headers.lock()
    }
}

/// Master keys and a random source.
pub struct Cipher {
    pub(crate) keys: MasterKeys,
    pub(crate) random: Random,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").field("keys", &self.keys).finish_non_exhaustive()
    }
}

fn system_random() -> Random {
    let system = SystemRandom::new();
    Box::new(move |bytes| system.fill(bytes).expect("the system's random source does not fail once it is up"))
}

impl Cipher {
    /// A cipher with the system's random source.
    #[must_use]
    pub fn new(master: MasterKey) -> Cipher {
        Cipher::with_random(master, system_random())
    }

    /// A cipher with another random source, for simulations. Real keys need [`Cipher::new`].
    #[must_use]
    pub fn with_random(master: MasterKey, random: Random) -> Cipher {
        Cipher { keys: MasterKeys::new(master), random }
    }

    /// A cipher with the keys of a running node, as [`crate::Log::keys`] has them.
    #[must_use]
    pub fn sharing(keys: &MasterKeys) -> Cipher {
        Cipher { keys: keys.clone(), random: system_random() }
    }

    /// The keys, which clones of them share.
    #[must_use]
    pub fn keys(&self) -> &MasterKeys {
        &self.keys
    }

    /// Also accepts a disk that is under another master key: a rotation may have been interrupted after it was stored,
    /// and before the file of the new key took the place of the old one's.
    #[must_use]
    pub fn with_alternative(self, master: MasterKey) -> Cipher {
        self.keys.shared.keys.write().alternative = Some(Arc::new(master));
        self
    }
}
