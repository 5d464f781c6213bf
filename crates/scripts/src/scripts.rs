//! The scripts and functions of one replica.

use std::rc::Rc;
use std::sync::Arc;

use crate::cache::Compiled;
use crate::inner::{Inner, Library};
use crate::options::{Options, Origin, ScriptError, StartError};
use crate::program::{self, Call, Target};
use crate::run::Run;
use crate::sandbox::State;
use crate::script::{LibrarySpec, ScriptFlags, Sha};
use crate::shebang;
use crate::step::{CallerFacts, Step};

/// What a script gets that is loaded while another one runs.
const BUSY: &[u8] = b"BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program<'a> {
    /// A script of the cache.
    Script(Sha),
    /// A function of an installed library.
    Function(&'a [u8]),
}

/// The scripts and functions of one replica, which one thread uses.
#[derive(Debug)]
pub struct Scripts {
    inner: Rc<Inner>,
}

impl Scripts {
    /// No scripts and no functions. Lua states are made when they are first needed.
    #[must_use]
    pub fn new(options: Options) -> Scripts {
        Scripts { inner: Rc::new(Inner::new(options)) }
    }

    /// Whether a run has started and is not over.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.inner.is_running.get()
    }

    /// Compiles a script and keeps it in the cache. A script that is there already stays; SCRIPT LOAD keeps it for
    /// good.
    ///
    /// # Errors
    ///
    /// The error line for the client: its first line is wrong, it does not compile, the cache is full, or a run is not
    /// over.
    pub fn load(&mut self, source: &[u8], origin: Origin) -> Result<Sha, ScriptError> {
        let sha = Sha::of(source);
        let inner = &self.inner;
        let is_known = match origin {
            Origin::Eval => inner.cache.borrow_mut().touch(sha).is_some(),
            Origin::Load => inner.cache.borrow_mut().promote(sha),
        };
        if is_known {
            return Ok(sha);
        }
        let (flags, code) = shebang::script(source)?;
        if inner.is_running.get() {
            return Err(ScriptError { line: BUSY.to_vec() });
        }
        let bytes_max = inner.options.cache_bytes_max;
        if !inner.cache.borrow().has_room(source, bytes_max) {
            return Err(ScriptError::new("The cache of scripts is full. SCRIPT FLUSH empties it."));
        }
        let compiled = compile(inner, code)?;
        let evicted = inner.cache.borrow_mut().insert(sha, (source, flags), origin, compiled, bytes_max);
        inner.eval.release(evicted);
        Ok(sha)
    }

    /// The flags of a script of the cache; the use counts for its eviction. `None`: it is not in the cache.
    pub fn find(&mut self, sha: Sha) -> Option<ScriptFlags> {
        self.inner.cache.borrow_mut().touch(sha).map(|script| script.flags)
    }

    /// The flags that the first line of a script declares, in the cache or not.
    ///
    /// # Errors
    ///
    /// The error line for the client if that line is wrong.
    pub fn flags(source: &[u8]) -> Result<ScriptFlags, ScriptError> {
        shebang::script(source).map(|(flags, _)| flags)
    }

    /// The source of a script of the cache.
    #[must_use]
    pub fn source(&self, sha: Sha) -> Option<Arc<[u8]>> {
        self.inner.cache.borrow().get(sha).map(|script| Arc::clone(&script.source))
    }

    /// Forgets all scripts (SCRIPT FLUSH). The Lua state of a run that is not over is given up when it is.
    pub fn flush(&mut self) {
        self.inner.cache.take();
        self.inner.eval.reset();
    }

    /// Scripts in the cache.
    #[must_use]
    pub fn script_count(&self) -> usize {
        self.inner.cache.borrow().len()
    }

    /// Bytes that the cache of scripts takes, without what is compiled.
    #[must_use]
    pub fn script_bytes(&self) -> usize {
        self.inner.cache.borrow().bytes()
    }

    /// Bytes that the Lua states use: that of scripts and that of functions.
    #[must_use]
    pub fn lua_bytes(&self) -> (usize, usize) {
        (self.inner.eval.bytes(), self.inner.functions.bytes())
    }

    /// Starts to read a library: a run that ends with [`crate::Step::Library`]. It calls no commands.
    ///
    /// # Errors
    ///
    /// [`StartError::Busy`], [`StartError::OutOfMemory`].
    pub fn start_library(&mut self, code: &[u8]) -> Result<Run, StartError> {
        self.free()?;
        let state = self.inner.functions.state(&self.inner).map_err(|_| StartError::OutOfMemory)?;
        let (inner, code) = (Rc::clone(&self.inner), Arc::from(code));
        Run::new(&self.inner, move || {
            let failed = Step::Library(Err(ScriptError::new("Error registering functions: internal error")));
            program::guarded(&inner, false, || program::read_library(&inner, &state, &code), failed)
        })
    }

    /// Makes the functions of a library callable; a library of the same name is replaced. Its code is run at the first
    /// call if this replica has not read it.
    pub fn install(&mut self, library: LibrarySpec) {
        self.remove(&library.name);
        let pending = self.inner.pending.take();
        let functions = match pending {
            Some(pending) if pending.code == library.code => Some(pending.functions),
            other => {
                self.inner.pending.replace(other);
                None
            }
        };
        self.inner.libraries.borrow_mut().push(Library { spec: library, functions });
    }

    /// Removes a library; whether it was installed.
    pub fn remove(&mut self, library: &[u8]) -> bool {
        let mut libraries = self.inner.libraries.borrow_mut();
        let Some(index) = libraries.iter().position(|installed| installed.spec.name == library) else { return false };
        let removed = libraries.remove(index);
        self.inner.functions.release(removed.functions.into_iter().flatten().map(|(_, compiled)| compiled));
        true
    }

    /// Removes all libraries, and the Lua state that had read them.
    pub fn flush_functions(&mut self) {
        self.inner.libraries.borrow_mut().clear();
        self.inner.pending.take();
        self.inner.functions.reset();
    }

    /// The installed libraries, in the order in which they were installed.
    #[must_use]
    pub fn libraries(&self) -> Vec<LibrarySpec> {
        self.inner.libraries.borrow().iter().map(|library| library.spec.clone()).collect()
    }

    /// The library and the flags of a function; upper and lower case are the same in its name.
    #[must_use]
    pub fn find_function(&self, name: &[u8]) -> Option<(Vec<u8>, ScriptFlags)> {
        self.inner.libraries.borrow().iter().find_map(|library| {
            let function = library.spec.functions.iter().find(|function| function.name.eq_ignore_ascii_case(name))?;
            Some((library.spec.name.clone(), function.flags))
        })
    }

    fn free(&self) -> Result<(), StartError> {
        if self.inner.is_running.get() { Err(StartError::Busy) } else { Ok(()) }
    }

    /// Starts a script or function with its keys and arguments.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(
        &mut self,
        program: Program<'_>,
        keys: Vec<Vec<u8>>,
        args: Vec<Vec<u8>>,
        facts: CallerFacts,
    ) -> Result<Run, StartError> {
        self.free()?;
        let inner = Rc::clone(&self.inner);
        let (slot, is_eval) = match program {
            Program::Script(_) => (&inner.eval, true),
            Program::Function(_) => (&inner.functions, false),
        };
        let state = slot.state(&inner).map_err(|_| StartError::OutOfMemory)?;
        let target = match program {
            Program::Script(sha) => script(&inner, &state, sha)?,
            Program::Function(name) => function(&inner, &state, name)?,
        };
        let call = Call { target, keys, args, facts };
        Run::new(&self.inner, move || {
            let failed = Step::Done(program::internal_error());
            program::guarded(&inner, is_eval, || program::run(&inner, &state, call), failed)
        })
    }
}

/// Compiles the code of a script. A state that has no memory left for it is replaced.
fn compile(inner: &Inner, code: &[u8]) -> Result<Compiled, ScriptError> {
    let attempt = || {
        let state = inner.eval.state(inner)?;
        let function = state.compile(code, "@user_script")?;
        inner.eval.keep(&state, &function)
    };
    let mut compiled = attempt();
    if let Err(mlua::Error::MemoryError(_)) = compiled {
        inner.eval.reset();
        compiled = attempt();
    }
    compiled.map_err(|wrong| match wrong {
        mlua::Error::SyntaxError { message, .. } => {
            ScriptError::new(format!("Error compiling script (new function): {message}"))
        }
        mlua::Error::MemoryError(_) => ScriptError::new("Error compiling script (new function): not enough memory"),
        wrong => ScriptError::new(format!("Error compiling script (new function): {wrong}")),
    })
}

/// A script of the cache, which is compiled again if its state was replaced.
fn script(inner: &Inner, state: &State, sha: Sha) -> Result<Target, StartError> {
    let mut cache = inner.cache.borrow_mut();
    let script = cache.touch(sha).ok_or(StartError::Unknown)?;
    let kept = script.compiled.and_then(|compiled| inner.eval.kept(state, compiled));
    if let Some(function) = kept {
        return Ok(Target::Script(function));
    }
    let (_, code) = shebang::script(&script.source).map_err(|_| StartError::Unknown)?;
    let again = |code| {
        let function = state.compile(code, "@user_script")?;
        let compiled = inner.eval.keep(state, &function)?;
        Ok::<_, mlua::Error>((function, compiled))
    };
    let (function, compiled) = again(code).map_err(|_| StartError::OutOfMemory)?;
    if let Some(script) = cache.get_mut(sha) {
        script.compiled = Some(compiled);
    }
    Ok(Target::Script(function))
}

/// A function of an installed library.
fn function(inner: &Inner, state: &State, name: &[u8]) -> Result<Target, StartError> {
    let libraries = inner.libraries.borrow();
    let is_function = |known: &[u8]| known.eq_ignore_ascii_case(name);
    let has_it = |library: &&Library| library.spec.functions.iter().any(|function| is_function(&function.name));
    let library = libraries.iter().find(has_it).ok_or(StartError::Unknown)?;
    let functions = library.functions.iter().flatten();
    let compiled = functions.into_iter().find(|(known, _)| is_function(known)).map(|(_, compiled)| *compiled);
    Ok(match compiled.and_then(|compiled| inner.functions.kept(state, compiled)) {
        Some(function) => Target::Function(function),
        None => Target::Unloaded(library.spec.name.clone(), Arc::clone(&library.spec.code), name.to_vec()),
    })
}
