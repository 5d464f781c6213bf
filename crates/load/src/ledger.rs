//! A load whose result can be checked: every key has one writer, which writes increasing numbers. The ledger records
//! for every number whether it was acknowledged, refused or left unknown.
//!
//! Checks during the run (also by readers on other connections) and after it:
//! - A read returns the newest acknowledged number, or a number whose outcome is unknown; never an older one (a lost
//!   write or a stale read), a refused one, or one that was not written.
//! - A counter incremented with INCR is between the number of acknowledged increments and the sum of acknowledged and
//!   unknown increments.
//!
//! A write with an unknown outcome may take effect at any later time, because its bytes may still be in a socket. It
//! therefore remains possible until the run ends, and the share of such writes is reported.

mod book;
mod worker;

pub use book::{Book, ReadStart, Summary, Violation};
pub use worker::{LedgerOptions, LedgerRun, start, start_with};
