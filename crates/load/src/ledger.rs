//! Load whose result can be checked: every key has one writer, which writes rising numbers, and the ledger knows of
//! every number whether it was acknowledged, refused or left unknown.
//!
//! What is checked, during the run (also by readers on other connections) and after it:
//! - a read returns the newest acknowledged number, or a number whose outcome is unknown; never an older
//!   one (a lost write or a stale read), never a refused one, never one that was not written;
//! - a counter, raised by INCR, lies between its acknowledged raises and these plus the unknown ones.
//!
//! A write of unknown outcome may take effect at any later time (its bytes may still lie in a socket), so it stays
//! possible until the run ends; it is therefore kept, and its share is reported.

mod book;
mod worker;

pub use book::{Book, ReadStart, Summary, Violation};
pub use worker::{LedgerOptions, LedgerRun, start};
