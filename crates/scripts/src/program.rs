//! What executes on the stack of a run.

use std::rc::Rc;
use std::sync::Arc;

use fastness_resp::ReplyBuf;
use mlua::{Function, Value};

use crate::inner::{Functions, Inner, Pending};
use crate::options::ScriptError;
use crate::sandbox::{Called, State};
use crate::script::{FunctionSpec, LibrarySpec};
use crate::shebang;
use crate::step::{CallerFacts, Failure, Outcome, Step};
use crate::to_reply::{self, NoReply, Writer};

/// Bytes of Lua's message in an error that is not a script's own.
const MESSAGE_BYTES_MAX: usize = 100;

/// A script or function with all that it is called with.
pub(crate) struct Call {
    pub(crate) target: Target,
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) facts: CallerFacts,
}

/// What is called.
pub(crate) enum Target {
    /// A script.
    Script(Function),
    /// A function.
    Function(Function),
    /// A function of a library that is to be loaded first: the library's name and code, and the function's name.
    Unloaded(Vec<u8>, Arc<[u8]>, Vec<u8>),
}

/// An error that ends a run.
fn failure(line: Vec<u8>, is_counted: bool) -> Outcome {
    let mut reply = ReplyBuf::default();
    reply.error(&line);
    Outcome { reply: reply.to_vec(), failure: Some(Failure { line, is_counted }) }
}

/// The error that ends a run that could not be finished for a reason of this crate's.
pub(crate) fn internal_error() -> Outcome {
    failure(b"ERR Error running script, internal error".to_vec(), true)
}

fn lua_failure(message: &[u8]) -> Outcome {
    let message = &message[..message.len().min(MESSAGE_BYTES_MAX)];
    failure([b"ERR Error running script, ", message].concat(), true)
}

fn text_of(error: &mlua::Error) -> String {
    match error {
        mlua::Error::MemoryError(_) => "not enough memory".to_owned(),
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        error => error.to_string(),
    }
}

/// The error line of a value that a script has raised.
fn raised(value: &Value, killed: Option<Vec<u8>>) -> Outcome {
    let facts = match value {
        Value::Table(table) => to_reply::error_facts(table).ok(),
        _ => None,
    };
    let place = facts.as_ref().and_then(|facts| facts.place.as_ref());
    let placed = |line: &[u8]| match place {
        Some((source, number)) => [line, b" script: on ", source, b":", number, b"."].concat(),
        None => line.to_vec(),
    };
    match (killed, &facts, value) {
        (Some(line), ..) => failure(placed(&line), true),
        (None, Some(facts), _) => failure(placed(&facts.line), facts.is_counted),
        (None, None, Value::String(message)) => lua_failure(&message.as_bytes()),
        (None, None, Value::Error(error)) => lua_failure(text_of(error).as_bytes()),
        (None, None, _) => lua_failure(b"execution failure"),
    }
}

/// The reply for what a script has returned.
fn returned(inner: &Inner, state: &State, value: &Value, facts: CallerFacts) -> Outcome {
    let error = match value {
        Value::Table(table) if matches!(table.raw_get("err"), Ok(Value::String(_))) => {
            to_reply::error_facts(table).ok()
        }
        _ => None,
    };
    if let Some(facts) = error {
        return failure(facts.line, facts.is_counted);
    }
    let mut writer = Writer::new(&inner.link, facts.protocol, state.protocol());
    match writer.write(value, 0) {
        Ok(()) => Outcome { reply: writer.reply.to_vec(), failure: None },
        Err(NoReply::Killed) => failure(inner.link.killed().unwrap_or_default(), true),
        Err(NoReply::Failed) => lua_failure(b"the reply is too large"),
    }
}

fn outcome(inner: &Inner, state: &State, called: mlua::Result<Called>, facts: CallerFacts) -> Outcome {
    match called {
        Ok(Called::Raised(value)) => raised(&value, inner.link.killed()),
        Ok(Called::Returned(_)) if inner.link.killed().is_some() => raised(&Value::Nil, inner.link.killed()),
        Ok(Called::Returned(value)) => returned(inner, state, &value, facts),
        Err(error) => match inner.link.killed() {
            Some(line) => failure(line, true),
            None => lua_failure(text_of(&error).as_bytes()),
        },
    }
}

/// Runs a script or function to its end.
pub(crate) fn run(inner: &Inner, state: &State, call: Call) -> Step {
    let Call { target, keys, args, facts } = call;
    let (function, is_eval) = match target {
        Target::Script(function) => (function, true),
        Target::Function(function) => (function, false),
        Target::Unloaded(library, code, name) => match load_for_call(inner, state, &library, &code, &name) {
            Ok(function) => (function, false),
            Err(error) => return Step::Done(failure(error.line, true)),
        },
    };
    let called = state.call(&function, &keys, &args, is_eval);
    state.lift_limit();
    let outcome = outcome(inner, state, called, facts);
    state.settle();
    Step::Done(outcome)
}

/// Loads an installed library that this state does not have; the function that is called.
fn load_for_call(
    inner: &Inner,
    state: &State,
    library: &[u8],
    code: &Arc<[u8]>,
    name: &[u8],
) -> Result<Function, ScriptError> {
    let (_, functions) = read(inner, state, code)?;
    let found = functions.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let function = found.and_then(|(_, compiled)| inner.functions.kept(state, *compiled));
    let mut libraries = inner.libraries.borrow_mut();
    match libraries.iter_mut().find(|installed| installed.spec.name == library && installed.spec.code == *code) {
        Some(installed) => installed.functions = Some(functions),
        None => inner.functions.release(functions.into_values()),
    }
    function.ok_or_else(|| ScriptError::new("Function not found"))
}

/// Reads a library for FUNCTION LOAD.
pub(crate) fn read_library(inner: &Inner, state: &State, code: &Arc<[u8]>) -> Step {
    let read = read(inner, state, code).map(|(spec, functions)| {
        inner.drop_pending();
        inner.pending.replace(Some(Pending { code: Arc::clone(code), functions }));
        spec
    });
    state.settle();
    Step::Library(read)
}

/// Compiles and runs the code of a library: what it is, and its functions.
fn read(inner: &Inner, state: &State, code: &Arc<[u8]>) -> Result<(LibrarySpec, Functions), ScriptError> {
    let (name, body) = shebang::library(code)?;
    let compiled = state.compile(body, "@user_function");
    let compiling = |wrong: mlua::Error| ScriptError::new(format!("Error compiling function: {}", text_of(&wrong)));
    let compiled = compiled.map_err(compiling)?;
    let registering = |line: &[u8]| ScriptError { line: [b"ERR Error registering functions: ", line].concat() };
    let loaded = state.load(&compiled);
    if let Some(line) = inner.link.killed() {
        return Err(registering(&line));
    }
    let registered = match loaded {
        Ok(Ok(registered)) => registered,
        Ok(Err(value)) => return Err(registering(&raised_while_loading(&value))),
        Err(wrong) => return Err(registering(text_of(&wrong).as_bytes())),
    };
    let (functions, specs) = kept(inner, state, registered)?;
    Ok((LibrarySpec { name, code: Arc::clone(code), functions: specs }, functions))
}

fn raised_while_loading(value: &Value) -> Vec<u8> {
    match value {
        Value::Table(table) => to_reply::error_facts(table).map(|facts| facts.line).unwrap_or_default(),
        Value::String(text) => [b"ERR ", &*text.as_bytes()].concat(),
        Value::Error(error) => format!("ERR {}", text_of(error)).into_bytes(),
        _ => b"ERR unknown error".to_vec(),
    }
}

/// What is wrong with a function's name that is none.
const WRONG_NAME: &str =
    "Function names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// Keeps the functions that a library has registered, if their names are right.
fn kept(
    inner: &Inner,
    state: &State,
    registered: Vec<(FunctionSpec, Function)>,
) -> Result<(Functions, Vec<FunctionSpec>), ScriptError> {
    let (mut functions, mut specs) = (Functions::new(), Vec::new());
    let mut wrong = registered.is_empty().then_some("No functions registered");
    for (spec, function) in registered {
        if !shebang::is_name(&spec.name) {
            wrong = Some(WRONG_NAME);
        } else if functions.contains_key(&spec.name) {
            wrong = Some("Function already exists in the library");
        } else if let Ok(compiled) = inner.functions.keep(state, &function) {
            functions.insert(spec.name.clone(), compiled);
            specs.push(spec);
            continue;
        } else {
            wrong = Some("not enough memory");
        }
        break;
    }
    match wrong {
        None => Ok((functions, specs)),
        Some(wrong) => {
            inner.functions.release(functions.into_values());
            Err(ScriptError::new(wrong))
        }
    }
}

/// Runs a program and makes an error of a panic, after which its state is not used again.
pub(crate) fn guarded(inner: &Rc<Inner>, is_eval: bool, body: impl FnOnce() -> Step, otherwise: Step) -> Step {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)) {
        Ok(step) => step,
        Err(_) => {
            if is_eval {
                inner.eval.reset()
            } else {
                inner.functions.reset()
            }
            otherwise
        }
    }
}
