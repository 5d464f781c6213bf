//! Effects of libraries of functions. They name no key.

use crate::effect::{Arguments, DecodeError, EffectKeys, Encoder, Impact, TypeEffect};
use crate::keyspace::libraries::Libraries;
use crate::keyspace::{Key, Keyspace};
use fastness_types::{FormatLevel, WallMs};

/// Frozen op numbers.
mod op {
    pub(super) const FUNCTION_SET: u16 = 192;
    pub(super) const FUNCTION_DELETE: u16 = 193;
    pub(super) const FUNCTION_FLUSH: u16 = 194;
}

/// What stands for all libraries where effects report the hashes of the keys that they touch: a client that calls a
/// function depends on the last change of any of them. A key with this hash at worst delays replies.
pub const LIBRARIES_HASH: u64 = 0x6c69_6272_6172_6965;

/// See the table of [`crate::effect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table in the module's documentation")]
pub enum FunctionEffect<'a> {
    Set { name: &'a [u8], code: &'a [u8], functions: &'a [u8] },
    Delete { name: &'a [u8] },
    Flush,
}

impl<'a> TypeEffect<'a> for FunctionEffect<'a> {
    fn takes(op: u16, count: u64) -> Option<bool> {
        Some(match op {
            op::FUNCTION_SET => count == 3,
            op::FUNCTION_DELETE => count == 1,
            op::FUNCTION_FLUSH => count == 0,
            _ => return None,
        })
    }

    fn decode<F: Fn(&'a [u8]) -> Key<'a>>(
        op: u16,
        _: u64,
        arguments: &mut Arguments<'_, 'a, F>,
    ) -> Result<Self, DecodeError> {
        Ok(match op {
            op::FUNCTION_SET => {
                let (name, code) = (arguments.bytes()?, arguments.bytes()?);
                FunctionEffect::Set { name, code, functions: arguments.bytes()? }
            }
            op::FUNCTION_DELETE => FunctionEffect::Delete { name: arguments.bytes()? },
            op::FUNCTION_FLUSH => FunctionEffect::Flush,
            other => return Err(DecodeError::UnknownOp(u64::from(other))),
        })
    }

    fn encode(&self, to: &mut Encoder) {
        match *self {
            FunctionEffect::Set { name, code, functions } => {
                to.head(op::FUNCTION_SET, 3).bytes_arg(name).bytes_arg(code).bytes_arg(functions);
            }
            FunctionEffect::Delete { name } => _ = to.head(op::FUNCTION_DELETE, 1).bytes_arg(name),
            FunctionEffect::Flush => _ = to.head(op::FUNCTION_FLUSH, 0),
        }
        to.touch(LIBRARIES_HASH);
    }

    fn arguments_max(&self) -> usize {
        match self {
            FunctionEffect::Set { name, code, functions } => name.len() + code.len() + functions.len(),
            FunctionEffect::Delete { name } => name.len(),
            FunctionEffect::Flush => 0,
        }
    }

    #[inline]
    fn keys(&self) -> EffectKeys<'a> {
        EffectKeys::None
    }

    #[inline]
    fn is_of_all(&self) -> bool {
        false
    }

    fn perform(&self, keyspace: &mut Keyspace, _: WallMs) {
        let changed = match *self {
            FunctionEffect::Set { name, code, functions } => keyspace.libraries().with(name, code, functions),
            FunctionEffect::Delete { name } => keyspace.libraries().without(name),
            FunctionEffect::Flush => Libraries::default(),
        };
        keyspace.set_libraries(changed);
    }

    /// No value is concerned: an image has the libraries of its point from its start.
    fn impact(&self) -> Impact<'a> {
        Impact::Extends
    }

    #[inline]
    fn level(&self) -> FormatLevel {
        FormatLevel::FUNCTIONS
    }
}
