//! Deadlines as commands take and report them, for keys and for the fields of hashes alike.
//!
//! - [`mod@unit`]: seconds or milliseconds, from now or since the Unix epoch: EXPIRE's argument, EX and PX, TTL's
//!   reply.
//! - [`condition`]: NX, XX, GT and LT, and what an EXPIRE decides for one key or field.
//! - [`option`]: EX, PX, EXAT, PXAT, KEEPTTL and PERSIST among the options of SET, GETEX, HSETEX and the like.
//!
//! A deadline that has passed removes what it was given to: effects carry the removal, and a deadline in the past is
//! never stored. When the life of a stored key ends is for [`crate::keyspace::expiry`].

pub mod condition;
pub mod option;
pub mod unit;

pub use condition::{Decision, ExpiryCondition, ExpiryRequest};
pub use option::{Beside, Expiry, ExpiryOption};
pub use unit::TimeUnit;
