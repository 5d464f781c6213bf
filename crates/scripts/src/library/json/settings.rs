//! The settings of a `cjson` table.

use std::cell::Cell;

/// Tables in one another that are encoded, whatever the setting says: as many as the stack of a run takes.
pub(crate) const ENCODED_DEPTH_MAX: usize = 1_000;
/// Arrays and objects in one another that are decoded, whatever the setting says.
pub(crate) const DECODED_DEPTH_MAX: usize = 3_000;

/// What to do with NaN and infinities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotNumbers {
    Refuse,
    Allow,
    Null,
}

/// The settings of one `cjson` table.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) sparse_convert: Cell<bool>,
    pub(crate) sparse_ratio: Cell<i64>,
    pub(crate) sparse_safe: Cell<i64>,
    pub(crate) encode_depth: Cell<i64>,
    pub(crate) decode_depth: Cell<i64>,
    pub(crate) encode_invalid: Cell<NotNumbers>,
    pub(crate) decode_invalid: Cell<bool>,
    pub(crate) precision: Cell<i64>,
    pub(crate) keep_buffer: Cell<bool>,
}

impl Settings {
    pub(crate) fn new() -> Settings {
        Settings {
            sparse_convert: Cell::new(false),
            sparse_ratio: Cell::new(2),
            sparse_safe: Cell::new(10),
            encode_depth: Cell::new(1_000),
            decode_depth: Cell::new(1_000),
            encode_invalid: Cell::new(NotNumbers::Refuse),
            decode_invalid: Cell::new(true),
            precision: Cell::new(14),
            keep_buffer: Cell::new(true),
        }
    }
}
