//! The commands that the shard runs on scripts and functions.

use super::table::{Command, ScriptCommand};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = &[
    Command::script("eval", "<script> <numkeys> [<key> ...] [<arg> ...]", "Runs a script.", ScriptCommand::Eval),
    Command::script("eval_ro", "<script> <numkeys> [<key> ...] [<arg> ...]", "Runs a script that only reads.", ScriptCommand::EvalRo),
    Command::script("evalsha", "<sha1> <numkeys> [<key> ...] [<arg> ...]", "Runs a script of this replica's cache.", ScriptCommand::Evalsha),
    Command::script("evalsha_ro", "<sha1> <numkeys> [<key> ...] [<arg> ...]", "Runs a script of this replica's cache that only reads.", ScriptCommand::EvalshaRo),
    Command::script("fcall", "<function> <numkeys> [<key> ...] [<arg> ...]", "Runs a function.", ScriptCommand::Fcall),
    Command::script("fcall_ro", "<function> <numkeys> [<key> ...] [<arg> ...]", "Runs a function that only reads.", ScriptCommand::FcallRo),
    Command::script("function|delete", "<library>", "Deletes a library of functions.", ScriptCommand::FunctionDelete),
    Command::script("function|dump", "", "Returns all libraries in a serialized form, for FUNCTION RESTORE.", ScriptCommand::FunctionDump),
    Command::script("function|flush", "[ASYNC|SYNC]", "Deletes all libraries of functions.", ScriptCommand::FunctionFlush),
    Command::script("function|kill", "", "Ends the function that is running, if it has not written.", ScriptCommand::FunctionKill),
    Command::script("function|list", "[LIBRARYNAME <pattern>] [WITHCODE]", "Describes the libraries of functions.", ScriptCommand::FunctionList),
    Command::script("function|load", "[REPLACE] <code>", "Creates a library of functions.", ScriptCommand::FunctionLoad),
    Command::script("function|restore", "<payload> [FLUSH|APPEND|REPLACE]", "Creates the libraries that FUNCTION DUMP returned.", ScriptCommand::FunctionRestore),
    Command::script("function|stats", "", "Describes the function that is running, and the engine.", ScriptCommand::FunctionStats),
    Command::refused("script|debug", "ERR scripts cannot be debugged here: a debugger would stop every client of the shard"),
    Command::script("script|exists", "<sha1> [<sha1> ...]", "Reports which scripts this replica's cache has.", ScriptCommand::ScriptExists),
    Command::script("script|flush", "[ASYNC|SYNC]", "Empties this replica's cache of scripts.", ScriptCommand::ScriptFlush),
    Command::script("script|kill", "", "Ends the script that is running, if it has not written.", ScriptCommand::ScriptKill),
    Command::script("script|load", "<script>", "Puts a script into this replica's cache.", ScriptCommand::ScriptLoad),
    Command::script("script|show", "<sha1>", "Returns a script of this replica's cache.", ScriptCommand::ScriptShow),
];
