//! The record of a retired master key, which exists while snapshot files may still be under it: from the batch that
//! rotates the master key until every header has been replaced. With it the new master key alone opens everything.
//!
//! It holds the retired key's wrapping subkey, not the key: nothing on the disk reveals a master key. Record, version
//! 1: `version u8 = 1 | 3 reserved | fingerprint of the retired key 8 | fingerprint of the master key that seals it 8 |
//! nonce 12 | sealed subkey 32 | tag 16`. Associated data: as of a data key, with the label
//! `fastness/retired-master-key/1` and the bytes before the nonce.

use crate::entry::{RecordError, array_at};
use crate::key::Key;
use crate::master_key::{Fingerprint, MasterKey, WRAPPED_KEY_BYTES, WrappingKey};
use crate::place::{Place, UnwrapError};

const VERSION: u8 = 1;
const CLEAR_BYTES: usize = 20;
const RECORD_BYTES: usize = CLEAR_BYTES + 12 + WRAPPED_KEY_BYTES;

fn associated_data(place: &Place, clear: &[u8]) -> Vec<u8> {
    place.associated_data(b"fastness/retired-master-key/1", Key::RetiredMaster, clear)
}

pub(crate) fn encode(place: &Place, master: &MasterKey, retired: &WrappingKey, nonce: [u8; 12]) -> Vec<u8> {
    let mut record = vec![VERSION, 0, 0, 0];
    record.extend_from_slice(&retired.fingerprint.0);
    record.extend_from_slice(&master.fingerprint().0);
    let data = associated_data(place, &record);
    record.extend_from_slice(&nonce);
    record.extend_from_slice(&master.wrapping.wrap_retired(nonce, &data, retired));
    record
}

pub(crate) fn decode(place: &Place, master: &MasterKey, record: &[u8]) -> Result<WrappingKey, UnwrapError> {
    match record.first() {
        Some(&VERSION) => {}
        Some(&version) => return Err(UnwrapError::Record(RecordError::Version(version))),
        None => return Err(UnwrapError::Record(RecordError::Short)),
    }
    if record.len() != RECORD_BYTES {
        return Err(UnwrapError::Record(RecordError::Short));
    }
    if record[1..4] != [0; 3] {
        return Err(UnwrapError::Record(RecordError::Reserved));
    }
    let sealed_by = Fingerprint(array_at(record, 12));
    if sealed_by != master.fingerprint() {
        return Err(UnwrapError::OtherMaster(sealed_by));
    }
    let data = associated_data(place, &record[..CLEAR_BYTES]);
    let nonce = array_at(record, CLEAR_BYTES);
    let subkey = master.wrapping.unwrap(nonce, &data, &record[CLEAR_BYTES + 12..]).map_err(UnwrapError::Record)?;
    Ok(WrappingKey::new(subkey, Fingerprint(array_at(record, 4))))
}
