//! The simulated disk: an ordered store in memory that knows what was synced.
//!
//! [`MemoryDisk`] is the disk, which outlives crashes. [`MemoryDisk::open`] returns a handle; only one can be open at a
//! time, as with a locked directory. [`MemoryDisk::crash`] drops a suffix of the batches that were not synced. A batch
//! survives whole or not at all, as after a real store's recovery. A handle that was opened before the crash reads and
//! writes nothing any more.
//!
//! Faults: writes that fail (once, or permanently), an fsync that fails after its batch was applied, a full disk, and
//! changed bytes ([`MemoryDisk::edit`]). The log's driver simulates latency.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::store::{Family, KeyRange, KeyValue, OrderedStore, StoreError, Visitor, WriteBatch, WriteOp};

type Families = BTreeMap<Family, BTreeMap<Vec<u8>, Bytes>>;

/// A fault of the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryFault {
    /// The batch is not written.
    Write,
    /// The batch is written and not synced; the sync fails.
    Sync,
}

#[derive(Debug, Default)]
struct Disk {
    /// Content after the last sync.
    synced: Families,
    /// Batches since then, oldest first.
    unsynced: Vec<WriteBatch>,
    /// Content with the unsynced batches applied.
    current: Families,
    /// Incremented by every crash. Handles of an earlier life no longer work.
    life: u64,
    open: bool,
    fault: Option<MemoryFault>,
    /// Set once a write has failed.
    failed: bool,
    bytes_max: Option<usize>,
    syncs: u64,
}

/// A simulated disk. Clones refer to the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    disk: Arc<Mutex<Disk>>,
}

/// One opening of a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
    life: u64,
}

const PLACE: &str = "the simulated disk";

fn apply(families: &mut Families, op: &WriteOp) {
    match op {
        WriteOp::Put { family, key, value } => {
            families.entry(*family).or_default().insert(key.clone(), value.clone());
        }
        WriteOp::Delete { family, key } => {
            families.entry(*family).or_default().remove(key);
        }
        WriteOp::DeleteRange { family, from, to } => {
            if from < to {
                let map = families.entry(*family).or_default();
                let mut tail = map.split_off(from);
                map.append(&mut tail.split_off(to));
            }
        }
    }
}

fn apply_all(families: &mut Families, batch: &WriteBatch) {
    batch.ops.iter().for_each(|op| apply(families, op));
}

fn bytes_of(families: &Families) -> usize {
    families.values().flatten().map(|(key, value)| key.len() + value.len()).sum()
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// Opens the disk.
    ///
    /// # Errors
    /// The disk is open already.
    pub fn open(&self) -> Result<Arc<MemoryStore>, StoreError> {
        let mut disk = self.disk.lock();
        if disk.open {
            return Err(StoreError::Locked { place: PLACE.into(), detail: "it is open already".into() });
        }
        disk.open = true;
        disk.failed = false;
        Ok(Arc::new(MemoryStore { disk: self.disk.clone(), life: disk.life }))
    }

    /// Ends the process but not the machine: everything written survives.
    pub fn kill(&self) {
        self.crash(usize::MAX);
    }

    /// Crashes the machine: of the batches that were not synced, the first `survive` survive.
    pub fn crash(&self, survive: usize) {
        let mut disk = self.disk.lock();
        let disk = &mut *disk;
        let survivors = disk.unsynced.len().min(survive);
        let kept: Vec<WriteBatch> = disk.unsynced.drain(..).take(survivors).collect();
        kept.iter().for_each(|batch| apply_all(&mut disk.synced, batch));
        disk.current = disk.synced.clone();
        disk.life += 1;
        disk.open = false;
        disk.fault = None;
    }

    /// Number of batches that a crash may lose.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.disk.lock().unsynced.len()
    }

    /// Number of syncs so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.disk.lock().syncs
    }

    /// Makes the next write fail. After it, all writes fail until the disk is opened again.
    pub fn inject(&self, fault: MemoryFault) {
        self.disk.lock().fault = Some(fault);
    }

    /// Cancels a fault that no write has met yet, and removes the limit of the capacity.
    pub fn heal(&self) {
        let mut disk = self.disk.lock();
        disk.fault = None;
        disk.bytes_max = None;
    }

    /// Limits the total size of keys and values to `bytes_max`; `None` removes the limit.
    pub fn set_capacity(&self, bytes_max: Option<usize>) {
        self.disk.lock().bytes_max = bytes_max;
    }

    /// A copy of the disk as it is now, such as a backup would make.
    #[must_use]
    pub fn copy(&self) -> MemoryDisk {
        let disk = self.disk.lock();
        let copy = Disk { synced: disk.current.clone(), current: disk.current.clone(), ..Disk::default() };
        MemoryDisk { disk: Arc::new(Mutex::new(copy)) }
    }

    /// A disk with the content that a crash would leave of this one.
    #[must_use]
    pub fn synced(&self) -> MemoryDisk {
        let disk = self.disk.lock();
        let copy = Disk { synced: disk.synced.clone(), current: disk.synced.clone(), ..Disk::default() };
        MemoryDisk { disk: Arc::new(Mutex::new(copy)) }
    }

    /// Whether the value stored under a key would survive a crash.
    #[must_use]
    pub fn is_synced(&self, family: Family, key: &[u8]) -> bool {
        let disk = self.disk.lock();
        let at = |families: &Families| families.get(&family).and_then(|map| map.get(key)).cloned();
        let current = at(&disk.current);
        current.is_some() && current == at(&disk.synced)
    }

    /// Every key and value of a family.
    #[must_use]
    pub fn dump(&self, family: Family) -> Vec<KeyValue> {
        let disk = self.disk.lock();
        disk.current.get(&family).into_iter().flatten().map(|(k, v)| (k.clone(), v.to_vec())).collect()
    }

    /// Changes a stored value without the log's knowledge; `None` removes the key.
    pub fn edit(&self, family: Family, key: &[u8], value: Option<Vec<u8>>) {
        let mut disk = self.disk.lock();
        let disk = &mut *disk;
        for families in [&mut disk.synced, &mut disk.current] {
            let map = families.entry(family).or_default();
            match &value {
                Some(value) => map.insert(key.to_vec(), Bytes::from(value.clone())),
                None => map.remove(key),
            };
        }
    }
}

impl MemoryStore {
    fn alive<'a>(&self, disk: &'a mut Disk) -> Result<&'a mut Disk, StoreError> {
        if disk.life == self.life { Ok(disk) } else { Err(io("the machine has crashed")) }
    }
}

fn io(detail: &str) -> StoreError {
    StoreError::Io { place: PLACE.into(), detail: detail.into() }
}

fn range(range: &KeyRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Included(&range.from), Bound::Excluded(&range.to))
}

impl OrderedStore for MemoryStore {
    fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StoreError> {
        let mut disk = self.disk.lock();
        let disk = self.alive(&mut disk)?;
        if disk.failed {
            return Err(io("an earlier write failed"));
        }
        let fault = disk.fault.take();
        if fault == Some(MemoryFault::Write) {
            disk.failed = true;
            return Err(io("injected write failure"));
        }
        if let Some(bytes_max) = disk.bytes_max
            && bytes_of(&disk.current) + batch.size_bytes() > bytes_max
        {
            disk.failed = true;
            return Err(StoreError::NoSpace {
                place: PLACE.into(),
                detail: "the capacity that was set is reached".into(),
            });
        }
        apply_all(&mut disk.current, &batch);
        disk.unsynced.push(batch);
        if fault == Some(MemoryFault::Sync) {
            disk.failed = true;
            return Err(io("injected sync failure"));
        }
        if sync {
            disk.syncs += 1;
            let batches = std::mem::take(&mut disk.unsynced);
            batches.iter().for_each(|batch| apply_all(&mut disk.synced, batch));
        }
        Ok(())
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut disk = self.disk.lock();
        let disk = self.alive(&mut disk)?;
        Ok(disk.current.get(&family).and_then(|map| map.get(key)).map(|value| value.to_vec()))
    }

    fn scan(&self, family: Family, wanted: &KeyRange, visit: &mut Visitor<'_>) -> Result<(), StoreError> {
        if wanted.from >= wanted.to {
            return Ok(());
        }
        // Collected first: `visit` may call the store again.
        let found: Vec<(Vec<u8>, Bytes)> = {
            let mut disk = self.disk.lock();
            let disk = self.alive(&mut disk)?;
            disk.current
                .get(&family)
                .into_iter()
                .flat_map(|map| map.range::<[u8], _>(range(wanted)))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect()
        };
        for (key, value) in &found {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, family: Family, wanted: &KeyRange) -> Result<Option<KeyValue>, StoreError> {
        if wanted.from >= wanted.to {
            return Ok(None);
        }
        let mut disk = self.disk.lock();
        let disk = self.alive(&mut disk)?;
        let found = disk.current.get(&family).and_then(|map| map.range::<[u8], _>(range(wanted)).next_back());
        Ok(found.map(|(key, value)| (key.clone(), value.to_vec())))
    }

    fn reclaim(&self, _: Family) {}

    fn place(&self) -> String {
        PLACE.into()
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        let mut disk = self.disk.lock();
        if disk.life == self.life {
            disk.open = false;
        }
    }
}
