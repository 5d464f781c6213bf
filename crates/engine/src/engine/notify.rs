//! Keyspace notifications; see [`crate::notify`].

use super::Engine;
use crate::effect::{Effect, TypeEffect};
use crate::env::Env;
use crate::keyspace::Key;
use crate::notify::{Notifications, NotifyClasses};
use fastness_types::WallMs;

impl Engine {
    /// Sets which classes of notifications are made from now on.
    pub fn set_notify_classes(&mut self, classes: NotifyClasses) {
        self.notifier.wanted = classes.effective();
    }

    /// Whether notifications of this class are made.
    #[inline]
    #[must_use]
    pub fn notifies(&self, class: NotifyClasses) -> bool {
        self.notifier.wanted.has(class)
    }

    /// Notes that something has happened to a key. The event is named as Valkey names it.
    #[inline]
    pub fn notify(&mut self, class: NotifyClasses, event: &'static str, key: &Key<'_>) {
        if self.notifies(class) {
            self.notifier.unit.push(class, event, key.bytes);
        }
    }

    /// As [`Engine::notify`], for a removal of elements, after which the key may be missing: `del` follows then.
    #[inline]
    pub(crate) fn notify_removal(&mut self, class: NotifyClasses, event: &'static str, key: &Key<'_>) {
        if self.notifier.wanted != NotifyClasses::NONE {
            self.notify(class, event, key);
            self.notify_if_gone(key);
        }
    }

    /// Notes `del` for a key that was there before and may be missing now.
    #[inline]
    pub(crate) fn notify_if_gone(&mut self, key: &Key<'_>) {
        if self.notifies(NotifyClasses::GENERIC) && self.keyspace.find(key).is_none() {
            self.notify(NotifyClasses::GENERIC, "del", key);
        }
    }

    /// As [`Engine::notify`], for a result that was stored in the place of what the key held. `existed`: it held
    /// something, so without a result it was removed.
    pub(crate) fn notify_stored(&mut self, class: NotifyClasses, event: &'static str, key: &Key<'_>, existed: bool) {
        if self.notifier.wanted == NotifyClasses::NONE {
            return;
        }
        if self.keyspace.find(key).is_some() {
            self.notify(class, event, key);
        } else if existed {
            self.notify(NotifyClasses::GENERIC, "del", key);
        }
    }

    /// For a command that replaces a value without a look-up: removes an expired one before, as a look-up does, if
    /// anything is noted.
    #[inline]
    pub(crate) fn expire_replaced(&mut self, key: &Key<'_>, env: &mut Env<'_>) {
        if self.notifier.wanted != NotifyClasses::NONE {
            self.is_alive(key, env);
        }
    }

    /// Notes that a command has not found keys which it looked up without [`Engine::read`].
    pub(crate) fn notify_missed(&mut self, missed: &Notifications) {
        missed.iter().for_each(|one| self.notifier.unit.push(one.class, one.event, one.key));
    }

    /// A mark for [`Engine::notify_new_since`] and [`Engine::is_replaced`].
    #[inline]
    pub(crate) fn notified(&self) -> usize {
        self.notifier.unit.len()
    }

    /// Notes that a key is new, unless that was noted after the mark.
    pub(crate) fn notify_new_since(&mut self, mark: usize, key: &Key<'_>) {
        let is_new = |count: usize| self.notifier.unit.iter().skip(count).any(|one| one.class == NotifyClasses::NEW);
        if self.notifies(NotifyClasses::NEW) && !is_new(mark) {
            self.notify(NotifyClasses::NEW, "new", key);
        }
    }

    /// For a value that has taken the place of what `existed`: forgets that its key is new, all that was noted after
    /// the mark.
    #[inline]
    pub(crate) fn is_replaced(&mut self, existed: bool, mark: usize) {
        if existed {
            self.forget_notifications(mark);
        }
    }

    /// Performs an effect, and notes which keys are new after it.
    #[cold]
    pub(super) fn perform_noting_new(&mut self, effect: &Effect<'_>, now: WallMs) {
        let keys = effect.keys();
        let missing: Vec<Key<'_>> = keys.changed().filter(|key| self.keyspace.find(key).is_none()).collect();
        self.perform(effect, now);
        for key in missing {
            if self.keyspace.find(&key).is_some() {
                self.notify(NotifyClasses::NEW, "new", &key);
            }
        }
    }

    /// Whether the current unit has notifications, or has dropped some.
    #[inline]
    #[must_use]
    pub fn has_notifications(&self) -> bool {
        !self.notifier.unit.is_empty()
    }

    /// Takes the notifications of the unit that has ended.
    #[must_use]
    pub fn take_notifications(&mut self) -> Notifications {
        self.notifier.unit.set_channels(self.notifier.wanted);
        std::mem::take(&mut self.notifier.unit)
    }

    /// Forgets what was noted after the mark, of a unit that is rolled back.
    pub(super) fn forget_notifications(&mut self, mark: usize) {
        if self.notified() > mark {
            self.notifier.unit.truncate(mark);
        }
    }
}
