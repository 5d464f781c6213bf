//! Calls of scripts and functions.

use bytes::Bytes;

use crate::client::Client;
use crate::error::ClientError;
use crate::reply::ReplyValue;
use crate::slots::key_slot;
use crate::verdict::CallKind;

/// The reason with which a node refuses a script that it does not have in its cache.
const NO_SCRIPT: &str = "NOSCRIPT";

/// A script in Lua, which is sent by its name and, where a node does not know it, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    source: Bytes,
    name: Bytes,
}

impl Script {
    /// A script of this source.
    #[must_use]
    pub fn new(source: impl Into<Bytes>) -> Script {
        let source = source.into();
        let name = sha1_hex(&source).into();
        Script { source, name }
    }

    /// The SHA-1 of the source in hexadecimal digits, by which EVALSHA names it.
    #[must_use]
    pub fn sha1(&self) -> &[u8] {
        &self.name
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &[u8] {
        &self.source
    }
}

impl Client {
    /// Runs a script that may write, as one unit, on the primary of the shard that has its keys, which are in one slot.
    ///
    /// # Errors
    /// See [`ClientError`]; refused with the reason of the error that the script has ended with. What it had written
    /// before that stays, as with Valkey.
    pub async fn eval<K: AsRef<[u8]>, A: AsRef<[u8]>>(
        &self,
        script: &Script,
        keys: impl IntoIterator<Item = K>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<ReplyValue, ClientError> {
        self.run_script(CallKind::Write, ["EVALSHA", "EVAL"], script, (all(keys), all(args))).await
    }

    /// Runs a script that only reads, where reads of this client go.
    ///
    /// # Errors
    /// As for [`Client::eval`].
    pub async fn eval_read<K: AsRef<[u8]>, A: AsRef<[u8]>>(
        &self,
        script: &Script,
        keys: impl IntoIterator<Item = K>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<ReplyValue, ClientError> {
        self.run_script(CallKind::Read, ["EVALSHA_RO", "EVAL_RO"], script, (all(keys), all(args))).await
    }

    /// Runs a function that may write, as [`Client::eval`] runs a script. FUNCTION LOAD has put its library on every
    /// shard.
    ///
    /// # Errors
    /// As for [`Client::eval`].
    pub async fn fcall<K: AsRef<[u8]>, A: AsRef<[u8]>>(
        &self,
        function: &str,
        keys: impl IntoIterator<Item = K>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<ReplyValue, ClientError> {
        let name = Bytes::copy_from_slice(function.as_bytes());
        self.run_program(CallKind::Write, "FCALL", name, &(all(keys), all(args))).await
    }

    /// Runs a function that only reads, where reads of this client go.
    ///
    /// # Errors
    /// As for [`Client::eval`].
    pub async fn fcall_read<K: AsRef<[u8]>, A: AsRef<[u8]>>(
        &self,
        function: &str,
        keys: impl IntoIterator<Item = K>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<ReplyValue, ClientError> {
        let name = Bytes::copy_from_slice(function.as_bytes());
        self.run_program(CallKind::Read, "FCALL_RO", name, &(all(keys), all(args))).await
    }

    async fn run_script(
        &self,
        kind: CallKind,
        [by_name, whole]: [&str; 2],
        script: &Script,
        words: (Vec<Bytes>, Vec<Bytes>),
    ) -> Result<ReplyValue, ClientError> {
        match self.run_program(kind, by_name, script.name.clone(), &words).await {
            Err(error) if error.reason() == NO_SCRIPT => {
                self.run_program(kind, whole, script.source.clone(), &words).await
            }
            done => done,
        }
    }

    async fn run_program(
        &self,
        kind: CallKind,
        command: &str,
        program: Bytes,
        (keys, args): &(Vec<Bytes>, Vec<Bytes>),
    ) -> Result<ReplyValue, ClientError> {
        let mut words = vec![Bytes::copy_from_slice(command.as_bytes()), program, keys.len().to_string().into()];
        words.extend(keys.iter().chain(args).cloned());
        self.run_command(kind, words, keys.first().map(|key| key_slot(key))).await
    }
}

fn all<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> Vec<Bytes> {
    words.into_iter().map(|word| Bytes::copy_from_slice(word.as_ref())).collect()
}

/// SHA-1 in hexadecimal digits: a name, no protection of anything.
fn sha1_hex(text: &[u8]) -> String {
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut padded = text.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(text.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        add_block(&mut state, block);
    }
    state.iter().map(|word| format!("{word:08x}")).collect()
}

fn add_block(state: &mut [u32; 5], block: &[u8]) {
    let mut words = [0_u32; 80];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    for i in 16..80 {
        words[i] = (words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (i, word) in words.iter().enumerate() {
        let (mixed, constant) = match i / 20 {
            0 => (b & c | !b & d, 0x5a82_7999),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => (b & c | b & d | c & d, 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6_u32),
        };
        let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    for (sum, word) in state.iter_mut().zip([a, b, c, d, e]) {
        *sum = sum.wrapping_add(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valkeys() {
        let name = |source: &str| String::from_utf8(Script::new(source.to_owned()).sha1().to_vec()).unwrap_or_default();
        assert_eq!(name("return 1"), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(name(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        // Lengths around that of a block.
        for (length, expected) in [
            (63, "03f09f5b158a7a8cdad920bddc29b81c18a551f5"),
            (55, "c1c8bbdc22796e28c0e15163d20899b65621d65a"),
            (56, "c2db330f6083854c99d4b5bfb6e8f29f201be699"),
            (64, "0098ba824b5c16427bd7a1122a5a442a25ec644d"),
        ] {
            assert_eq!(name(&"a".repeat(length)), expected, "{length}");
        }
    }
}
