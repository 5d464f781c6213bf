//! The generic commands, which work on keys of every type. A command is in a file of its own or with its closest
//! relatives.

pub mod copy;
pub mod del;
pub mod dump;
pub mod exists;
pub mod expire;
pub mod keys;
pub mod object;
pub mod persist;
pub mod randomkey;
pub mod relocate;
pub mod rename;
pub mod restore;
pub mod scan;
pub mod sort;
pub mod touch;
pub mod ttl;
pub mod typename;
