//! What one connection has set with CLIENT TRACKING and CLIENT CACHING.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use fastness_engine::command::{CommandSpec, Run, SessionCommand};

/// The options of CLIENT TRACKING ON.
#[derive(Debug, Clone, Default)]
pub struct TrackingOptions<'a> {
    /// REDIRECT; 0: none.
    pub redirect: u64,
    /// PREFIX, each.
    pub prefixes: Vec<&'a [u8]>,
    /// BCAST.
    pub is_bcast: bool,
    /// OPTIN.
    pub is_optin: bool,
    /// OPTOUT.
    pub is_optout: bool,
    /// NOLOOP.
    pub is_noloop: bool,
}

/// Prefixes of keys, in order.
pub(super) type PrefixSet = RefCell<BTreeSet<Rc<[u8]>>>;

/// See the module. [`super::Tracking`] changes it.
#[derive(Debug, Default)]
pub struct ClientTracking {
    is_on: Cell<bool>,
    is_bcast: Cell<bool>,
    is_optin: Cell<bool>,
    is_optout: Cell<bool>,
    is_noloop: Cell<bool>,
    redirect: Cell<u64>,
    /// The connection of REDIRECT was gone when a message was due.
    is_broken: Cell<bool>,
    /// CLIENT CACHING was sent for the next command, or for the transaction that is being queued.
    caching: Cell<bool>,
    /// After CLIENT CACHING: a transaction is being queued.
    is_queueing: Cell<bool>,
    /// Whether it may be among the readers of a key.
    has_read: Cell<bool>,
    /// With BCAST.
    pub(super) prefixes: PrefixSet,
}

impl ClientTracking {
    /// Whether it tracks.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on.get()
    }

    /// BCAST.
    #[must_use]
    pub fn is_bcast(&self) -> bool {
        self.is_bcast.get()
    }

    /// OPTIN.
    #[must_use]
    pub fn is_optin(&self) -> bool {
        self.is_optin.get()
    }

    /// OPTOUT.
    #[must_use]
    pub fn is_optout(&self) -> bool {
        self.is_optout.get()
    }

    /// NOLOOP.
    #[inline]
    #[must_use]
    pub fn is_noloop(&self) -> bool {
        self.is_noloop.get()
    }

    /// Whether the connection of REDIRECT was gone when a message was due.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    /// Whether CLIENT CACHING is in effect.
    #[must_use]
    pub fn is_caching(&self) -> bool {
        self.caching.get()
    }

    /// The connection that gets the messages, 0: this one; `None`: it does not track.
    #[must_use]
    pub fn redirect(&self) -> Option<u64> {
        self.is_on().then(|| self.redirect.get())
    }

    /// Passes its prefixes to `each`, in order.
    pub fn each_prefix(&self, each: impl FnMut(&Rc<[u8]>)) {
        self.prefixes.borrow().iter().for_each(each);
    }

    /// How many prefixes it has.
    #[must_use]
    pub fn prefix_count(&self) -> usize {
        self.prefixes.borrow().len()
    }

    /// CLIENT CACHING, for what follows.
    pub fn cache_next(&self) {
        self.caching.set(true);
    }

    /// Whether the keys that its command reads are entered.
    pub(super) fn remembers(&self) -> bool {
        let caching = self.caching.get();
        self.is_on() && !self.is_bcast() && (!self.is_optin() || caching) && !(self.is_optout() && caching)
    }

    pub(super) fn note_read(&self) {
        self.has_read.set(true);
    }

    pub(super) fn has_read(&self) -> bool {
        self.has_read.get()
    }

    pub(super) fn set_broken(&self) {
        self.is_broken.set(true);
    }

    /// Whether it has a prefix that is a part of this one: it gets the keys under that.
    pub(super) fn has_shorter(&self, prefix: &[u8]) -> bool {
        self.prefixes.borrow().iter().any(|other| other.len() < prefix.len() && prefix.starts_with(other))
    }

    pub(super) fn set(&self, options: &TrackingOptions<'_>) {
        self.is_on.set(true);
        self.is_bcast.set(options.is_bcast);
        self.is_optin.set(options.is_optin);
        self.is_optout.set(options.is_optout);
        self.is_noloop.set(options.is_noloop);
        self.redirect.set(options.redirect);
        self.is_broken.set(false);
    }

    pub(super) fn clear(&self) {
        self.set(&TrackingOptions::default());
        self.is_on.set(false);
        self.caching.set(false);
        self.is_queueing.set(false);
        self.has_read.set(false);
    }

    /// A command has run, or was queued or refused; `None`: it is unknown. Ends what CLIENT CACHING has set, except
    /// after another CLIENT command, and between MULTI and the end of the transaction.
    #[cold]
    pub fn end_command(&self, spec: Option<&CommandSpec>, reply: &[u8]) {
        if !self.caching.get() {
            return;
        }
        let is_queueing = self.is_queueing.get();
        let ends_transaction =
            spec.is_some_and(|spec| matches!(spec.run, Run::Session(SessionCommand::Exec | SessionCommand::Discard)));
        match spec {
            Some(spec) if matches!(spec.run, Run::Session(SessionCommand::Multi)) && !is_queueing => {
                self.is_queueing.set(reply.starts_with(b"+"));
                self.caching.set(self.is_queueing.get());
            }
            _ if is_queueing && !ends_transaction => {}
            Some(spec) if spec.name.starts_with("client|") => {}
            _ => {
                self.is_queueing.set(false);
                self.caching.set(false);
            }
        }
    }
}
