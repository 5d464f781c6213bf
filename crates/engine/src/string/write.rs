//! Changes of strings. Each stages one effect and performs it, unless the unit would become too long with it; such a
//! unit is rolled back as a whole. The caller has looked the key up before, which removed an expired one.

use super::effect::{self, StringEffect};
use crate::effect::Effect;
use crate::engine::Engine;
use crate::env::Env;
use crate::keyspace::{ExpiryChange, Key};
use std::borrow::Cow;
use std::sync::Arc;

impl Engine {
    /// Sets a string.
    #[inline]
    pub fn set(&mut self, key: &Key<'_>, value: &[u8], expiry: ExpiryChange, env: &mut Env<'_>) {
        if self.keyspace.is_long(value) {
            return self.set_long(key, value.into(), expiry, env);
        }
        self.stage(StringEffect::Set { key: *key, value, expiry }, env.effects, env.now);
    }

    /// Sets a string to an owned text; a long one is stored without a copy.
    pub fn set_owned(&mut self, key: &Key<'_>, value: Vec<u8>, expiry: ExpiryChange, env: &mut Env<'_>) {
        if self.keyspace.is_long(&value) {
            return self.set_long(key, value.into(), expiry, env);
        }
        self.set(key, &value, expiry, env);
    }

    /// Sets a string to a long text, which memory and effects share.
    #[cold]
    fn set_long(&mut self, key: &Key<'_>, value: Cow<'_, [u8]>, expiry: ExpiryChange, env: &mut Env<'_>) {
        let effect = Effect::from(StringEffect::Set { key: *key, value: &value, expiry });
        if !env.effects.admits(&effect) {
            return;
        }
        self.announce(&effect, env.now);
        let mut value = value.into_owned();
        value.shrink_to_fit();
        let value = Arc::new(value);
        effect::push_shared(*key, &value, expiry, env.effects.encoder());
        self.keyspace.set_shared(key, value, expiry, env.now);
    }

    /// Sets a string to an integer, and keeps the deadline.
    pub fn set_int(&mut self, key: &Key<'_>, value: i64, env: &mut Env<'_>) {
        let mut buffer = itoa::Buffer::new();
        self.set(key, buffer.format(value).as_bytes(), ExpiryChange::Keep, env);
    }

    /// Appends to a string.
    pub fn append(&mut self, key: &Key<'_>, bytes: &[u8], env: &mut Env<'_>) {
        self.stage(StringEffect::Append { key: *key, bytes }, env.effects, env.now);
    }

    /// Overwrites a part of a string.
    pub fn set_range(&mut self, key: &Key<'_>, offset: u64, bytes: &[u8], env: &mut Env<'_>) {
        self.stage(StringEffect::SetRange { key: *key, offset, bytes }, env.effects, env.now);
    }
}
