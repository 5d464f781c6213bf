//! What is known of a script, a function and a library without running them.

use std::sync::Arc;

/// The SHA-1 of a script's source, in lower case hex: what EVALSHA names it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha([u8; 40]);

impl Sha {
    /// The name of a source.
    #[must_use]
    pub fn of(source: &[u8]) -> Sha {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, source);
        let mut hex = [0; 40];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(digest.as_ref()) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        Sha(hex)
    }

    /// The name in an argument, in any case; `None` if it is not 40 characters long.
    #[must_use]
    pub fn from_argument(text: &[u8]) -> Option<Sha> {
        Some(Sha(<[u8; 40]>::try_from(text).ok()?.map(|byte| byte.to_ascii_lowercase())))
    }

    /// The 40 hex digits.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a script or function declares about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScriptFlags {
    /// `no-writes`: it may run where writes are refused, and its writes are.
    pub no_writes: bool,
    /// `allow-oom`: it may run while the memory limit is reached.
    pub allow_oom: bool,
    /// `allow-stale`: it may run on a replica that is not up to date.
    pub allow_stale: bool,
    /// `no-cluster`: it does not run in cluster mode.
    pub no_cluster: bool,
    /// `allow-cross-slot-keys`: its keys may be in several slots.
    pub allow_cross_slot_keys: bool,
    /// A script without `#!`: each of its commands is checked when it is called instead, as before there were flags.
    pub is_compatible: bool,
}

impl ScriptFlags {
    /// Sets the flag with this name; whether there is one.
    pub(crate) fn set(&mut self, name: &[u8]) -> bool {
        match name {
            b"no-writes" => self.no_writes = true,
            b"allow-oom" => self.allow_oom = true,
            b"allow-stale" => self.allow_stale = true,
            b"no-cluster" => self.no_cluster = true,
            b"allow-cross-slot-keys" => self.allow_cross_slot_keys = true,
            _ => return false,
        }
        true
    }
}

/// A function of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionSpec {
    /// Its name, which FCALL uses.
    pub name: Vec<u8>,
    /// Its description, if it has one.
    pub description: Option<Vec<u8>>,
    /// What it declares about itself.
    pub flags: ScriptFlags,
}

/// A library: its code, and the functions that the code registers. Plain data: it can be stored and installed
/// elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibrarySpec {
    /// The name after `name=` in the first line.
    pub name: Vec<u8>,
    /// The whole code with its first line.
    pub code: Arc<[u8]>,
    /// The functions in the order of their registration.
    pub functions: Vec<FunctionSpec>,
}
