//! What [`crate::Scripts`] and its runs share.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use corosensei::stack::DefaultStack;
use mlua::Function;

use crate::cache::{Cache, Compiled};
use crate::coroutine::Link;
use crate::options::Options;
use crate::sandbox::State;
use crate::script::LibrarySpec;

/// The functions of a library in a Lua state, by name.
pub(crate) type Functions = HashMap<Vec<u8>, Compiled>;

/// An installed library.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) spec: LibrarySpec,
    /// Its functions, once this replica has run its code.
    pub(crate) functions: Option<Functions>,
}

/// A library that was read and is not installed yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) code: Arc<[u8]>,
    pub(crate) functions: Functions,
}

/// A Lua state that is made when it is needed and replaced when it has become unusable.
#[derive(Debug)]
pub(crate) struct Slot {
    state: RefCell<Option<Rc<State>>>,
    generation: Cell<u64>,
    /// The last number that was given to something kept in a state.
    number: Cell<u64>,
    /// What is to be forgotten before the next run: a state is left alone while a run is suspended in it.
    released: RefCell<Vec<Compiled>>,
    is_eval: bool,
}

impl Slot {
    fn new(is_eval: bool) -> Slot {
        Slot {
            state: RefCell::default(),
            generation: Cell::new(0),
            number: Cell::new(0),
            released: RefCell::default(),
            is_eval,
        }
    }

    /// The state, which is made or replaced if it has to be. Not while a run is suspended.
    pub(crate) fn state(&self, inner: &Inner) -> mlua::Result<Rc<State>> {
        let released = self.released.take();
        if let Some(state) = self.state.borrow().as_ref() {
            let current = released.into_iter().filter(|compiled| compiled.generation == self.generation.get());
            current.for_each(|compiled| state.release(compiled.number));
        }
        if self.state.borrow().as_ref().is_some_and(|state| state.is_exhausted()) {
            self.reset();
        }
        if let Some(state) = self.state.borrow().as_ref() {
            return Ok(Rc::clone(state));
        }
        let state = Rc::new(State::new(&inner.options, &inner.link, self.is_eval)?);
        self.generation.set(self.generation.get() + 1);
        self.state.replace(Some(Rc::clone(&state)));
        Ok(state)
    }

    /// Gives the state up, with all that is compiled in it.
    pub(crate) fn reset(&self) {
        self.state.replace(None);
    }

    /// Bytes of the state.
    pub(crate) fn bytes(&self) -> usize {
        self.state.borrow().as_ref().map_or(0, |state| state.bytes())
    }

    /// Keeps a function in the state.
    pub(crate) fn keep(&self, state: &State, function: &Function) -> mlua::Result<Compiled> {
        self.number.set(self.number.get() + 1);
        state.keep(self.number.get(), function)?;
        Ok(Compiled { generation: self.generation.get(), number: self.number.get() })
    }

    /// A function that was kept; `None` if its state was replaced.
    pub(crate) fn kept(&self, state: &State, compiled: Compiled) -> Option<Function> {
        if compiled.generation == self.generation.get() { state.kept(compiled.number).ok() } else { None }
    }

    /// Forgets functions, before the next run.
    pub(crate) fn release(&self, compiled: impl IntoIterator<Item = Compiled>) {
        self.released.borrow_mut().extend(compiled);
    }
}

/// The scripts and functions of one replica.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) link: Rc<Link>,
    pub(crate) eval: Slot,
    pub(crate) functions: Slot,
    pub(crate) cache: RefCell<Cache>,
    pub(crate) libraries: RefCell<Vec<Library>>,
    pub(crate) pending: RefCell<Option<Pending>>,
    /// The stack of the last run, for the next one.
    pub(crate) stack: RefCell<Option<SpareStack>>,
    /// A run has started and is not over.
    pub(crate) is_running: Cell<bool>,
}

/// A stack that no run uses.
pub(crate) struct SpareStack(pub(crate) DefaultStack);

impl std::fmt::Debug for SpareStack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpareStack")
    }
}

impl Inner {
    pub(crate) fn new(options: Options) -> Inner {
        Inner {
            link: Rc::new(Link::new(options.slice_instructions)),
            options,
            eval: Slot::new(true),
            functions: Slot::new(false),
            cache: RefCell::default(),
            libraries: RefCell::default(),
            pending: RefCell::default(),
            stack: RefCell::default(),
            is_running: Cell::new(false),
        }
    }

    /// Gives up a library that was read and not installed.
    pub(crate) fn drop_pending(&self) {
        if let Some(pending) = self.pending.take() {
            self.functions.release(pending.functions.into_values());
        }
    }
}
