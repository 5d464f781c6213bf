//! Changes of streams in the keyspace.

use super::change::StreamChange;
use super::entries::Stream;
use super::undo::Trail;
use crate::keyspace::{ExpiryChange, Key, Keyspace, NewValue, Object, ValueRef};
use fastness_types::WallMs;
use std::sync::Arc;

impl Keyspace {
    /// Changes a stream. A value of another type does not change. A stream without entries stays.
    pub fn change_stream(&mut self, key: &Key<'_>, change: &StreamChange<'_>, now: WallMs) {
        match self.find(key).map(|entry| entry.value()) {
            None if change.creates() => {
                let mut stream = Stream::default();
                stream.apply(change, &mut Trail::new(&mut None));
                self.put(key, NewValue::of(Object::new(stream)), ExpiryChange::Keep, now);
            }
            Some(ValueRef::Object(object)) if object.downcast_ref::<Stream>().is_some() => {
                let mut removed = Vec::new();
                self.change_parts(key, |object, undo_log| {
                    let Some(stream) = object.downcast_mut::<Stream>() else { return };
                    let mut trail = Trail::new(undo_log);
                    stream.apply(change, &mut trail);
                    removed = trail.removed;
                });
                removed.into_iter().for_each(|object| self.give_back_object(Arc::new(object)));
            }
            None | Some(_) => {}
        }
    }
}
