//! The sparse form: runs of registers with equal counts, one after the other.
//!
//! | bytes | run |
//! |---|---|
//! | `00nnnnnn` | n + 1 registers of count 0 (PFDEBUG DECODE: `z`) |
//! | `01nnnnnn nnnnnnnn` | n + 1 registers of count 0, the highest bits first (`Z`) |
//! | `1cccccnn` | n + 1 registers of count c + 1 (`v`) |
//!
//! [`raise`] splits the run of a register in place, and joins neighbours only close to it, so the runs of a value
//! depend on the order of its elements. Which runs it makes is a part of the format: it follows Valkey's rules exactly.
//!
//! Runs may come from a client, and may be anything. The second byte of a run that ends with the string counts as 0, as
//! in Valkey, whose strings end with a zero byte.

use super::layout::{CORRUPTED, HEADER_BYTES, REGISTERS};
use crate::error::CommandError;
use smallvec::SmallVec;

/// No runs of all registers are longer, bytes: the worst are zeros of two bytes each.
pub(super) const BYTES_MAX: usize = 2 * REGISTERS;
/// The largest count that a run has.
const COUNT_MAX: u8 = 32;
/// The most registers in a run of a count that is not 0.
const COUNTED_MAX: usize = 4;
/// The most registers in a run of zeros that is one byte.
const SHORT_MAX: usize = 64;
/// How many runs are visited to join neighbours.
const JOINED_MAX: usize = 5;
const LONG_BIT: u8 = 0x40;
const COUNTED_BIT: u8 = 0x80;

/// Registers with equal counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RegisterRun {
    /// The count of each.
    pub(super) count: u8,
    /// Number of registers; not 0.
    pub(super) registers: usize,
    /// Length of the run as it is written, bytes.
    pub(super) bytes: usize,
}

/// What [`raise`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raised {
    /// Nothing: the register has this count, or a larger one.
    Not,
    /// The register has the count.
    Yes,
    /// Nothing: the value must become dense.
    NoRoom,
}

/// The run that a register is in.
struct RunPlace {
    /// Offset of the run in the value.
    at: usize,
    run: RegisterRun,
    /// The first register of the run.
    first: usize,
    /// Offset of the run before it.
    previous: Option<usize>,
}

/// The runs as they are written, with the offset of each, whether or not they add up. `from` is the first offset.
pub(super) fn runs(bytes: &[u8], from: usize) -> impl Iterator<Item = (usize, RegisterRun)> {
    let mut next = from;
    std::iter::from_fn(move || {
        let (at, run) = (next, run_at(bytes, next)?);
        next += run.bytes;
        Some((at, run))
    })
}

/// Calls `each` with the first register of every run and the run.
///
/// # Errors
/// [`CORRUPTED`] if the runs are not of all registers, after `each` was called with those that are in range.
pub(super) fn for_each(body: &[u8], mut each: impl FnMut(usize, RegisterRun)) -> Result<(), CommandError> {
    let mut first = 0;
    for (_, run) in runs(body, 0) {
        if first + run.registers > REGISTERS {
            return Err(CORRUPTED);
        }
        each(first, run);
        first += run.registers;
    }
    if first == REGISTERS { Ok(()) } else { Err(CORRUPTED) }
}

/// Appends a run of up to as many registers as a run of this count may have.
pub(super) fn push_run(out: &mut impl Extend<u8>, count: u8, registers: usize) {
    let last = registers - 1;
    match count {
        0 if registers > SHORT_MAX => out.extend([LONG_BIT | (last >> 8) as u8, last as u8]),
        0 => out.extend([last as u8]),
        count => out.extend([counted(count, registers)]),
    }
}

/// Raises a register to a count, unless it has a larger one, in a value with its header, which grows to `bytes_max`
/// bytes at most. The cached cardinality does not change.
///
/// # Errors
/// [`CORRUPTED`] if the register is in no run.
pub(super) fn raise(value: &mut Vec<u8>, register: usize, count: u8, bytes_max: u64) -> Result<Raised, CommandError> {
    if count > COUNT_MAX {
        return Ok(Raised::NoRoom);
    }
    let RunPlace { at, run, first, previous } = find(value, register).ok_or(CORRUPTED)?;
    if run.count >= count {
        return Ok(Raised::Not);
    }
    if run.registers == 1 && run.bytes == 1 {
        value[at] = counted(count, 1);
    } else {
        let split = split(run, register - first, count);
        if split.len() > run.bytes && (value.len() + split.len() - run.bytes) as u64 > bytes_max {
            return Ok(Raised::NoRoom);
        }
        // The second byte of the last run may be missing: it has no bytes to replace, but counts, as in Valkey.
        let len = (value.len() + split.len()).saturating_sub(run.bytes);
        let end = value.len().min(at + run.bytes);
        value.splice(at..end, split);
        value.truncate(len);
    }
    join(value, previous.unwrap_or(HEADER_BYTES));
    Ok(Raised::Yes)
}

/// The runs that replace a run when the register at `index` in it gets a count.
fn split(run: RegisterRun, index: usize, count: u8) -> SmallVec<[u8; 5]> {
    let mut split = SmallVec::new();
    if index > 0 {
        push_run(&mut split, run.count, index);
    }
    push_run(&mut split, count, 1);
    let after = run.registers - index - 1;
    if after > 0 {
        push_run(&mut split, run.count, after);
    }
    split
}

/// Joins neighbours of equal counts, visiting a few runs from `at` on.
fn join(value: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOINED_MAX {
        let Some(run) = run_at(value, at) else { return };
        let next = run_at(value, at + run.bytes).filter(|next| run.count > 0 && next.count == run.count);
        match next.map(|next| run.registers + next.registers) {
            // The joined run is visited again, because it may have another neighbour to its right.
            Some(registers @ ..=COUNTED_MAX) => {
                value[at] = counted(run.count, registers);
                value.remove(at + 1);
            }
            _ => at += run.bytes,
        }
    }
}

fn find(value: &[u8], register: usize) -> Option<RunPlace> {
    let (mut first, mut previous) = (0, None);
    for (at, run) in runs(value, HEADER_BYTES) {
        if register < first + run.registers {
            return Some(RunPlace { at, run, first, previous });
        }
        first += run.registers;
        previous = Some(at);
    }
    None
}

/// The run at an offset; `None` at the end.
fn run_at(bytes: &[u8], at: usize) -> Option<RegisterRun> {
    let byte = *bytes.get(at)?;
    let low = usize::from(byte & 0x3f);
    Some(if byte & COUNTED_BIT != 0 {
        RegisterRun { count: (byte >> 2 & 0x1f) + 1, registers: usize::from(byte & 3) + 1, bytes: 1 }
    } else if byte & LONG_BIT != 0 {
        let second = usize::from(bytes.get(at + 1).copied().unwrap_or(0));
        RegisterRun { count: 0, registers: (low << 8 | second) + 1, bytes: 2 }
    } else {
        RegisterRun { count: 0, registers: low + 1, bytes: 1 }
    })
}

/// A run of a count that is not 0.
fn counted(count: u8, registers: usize) -> u8 {
    COUNTED_BIT | (count - 1) << 2 | (registers - 1) as u8
}
