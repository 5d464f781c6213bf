//! Bitmaps: the commands that read and change strings as arrays of bits.
//!
//! A bitmap is a string, so it has no representation, effects or DUMP form of its own. Bit 0 is the most significant
//! bit of the first byte. Bits after the end of the string are 0; setting one of them makes the string longer.
//!
//! A command logs what it changes and nothing else: SETBIT and BITFIELD overwrite the bytes that hold the bits
//! ([`SetRange`](crate::string::effect::StringEffect::SetRange)), and a write that leaves the string as it was has no
//! effect. BITOP replaces or removes its destination.
//!
//! - `bits`: counting and finding bits in bytes; `range`: the part of a string that BITCOUNT and BITPOS consider.
//! - `offset`: bit offsets as arguments; `field`: the integers of BITFIELD.

pub mod bitcount;
pub mod bitfield;
pub mod bitop;
pub mod bitpos;
mod bits;
mod field;
mod offset;
mod range;
pub mod setbit;

#[cfg(test)]
mod tests;
