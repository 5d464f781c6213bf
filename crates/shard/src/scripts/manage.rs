//! SCRIPT and its subcommands, and the frame of those of FUNCTION.

use fastness_engine::command::{CommandSpec, Flags, ScriptCommand};
use fastness_engine::functions::effect::LIBRARIES_HASH;
use fastness_resp::Args;
use fastness_scripts::{Origin, Sha};

use super::place::RunPlace;
use super::run::{NO_SCRIPT, check_length};
use crate::admit::{Admitted, Request};
use crate::execution::Execution;
use crate::idempotency::attempt::{Attempt, payload_of_command};
use crate::outcome::Outcome;
use crate::refusal::Refusal;
use crate::state::{Primary, Replica, State};

const KILLED_SCRIPT: &str = "ERR Script killed by user with SCRIPT KILL.";
const KILLED_FUNCTION: &str = "ERR Script killed by user with FUNCTION KILL.";

impl Execution<'_> {
    /// Runs a command that runs no script.
    pub(super) fn manage_scripts(
        &mut self,
        state: &mut State,
        command: ScriptCommand,
        spec: &'static CommandSpec,
        args: Args<'_>,
    ) -> Outcome {
        let shows_libraries = matches!(command, ScriptCommand::FunctionList | ScriptCommand::FunctionDump);
        let writes = spec.flags.has(Flags::WRITE);
        if !shows_libraries && !writes {
            self.manage_cache(&mut state.replica, command, args);
            return Outcome::REPLY;
        }
        let request = Request { whole: true, writes, ..self.request(spec, args, None) };
        let admitted = match state.admit(request, self.now, self.front_end) {
            Ok(admitted) => admitted,
            Err(denied) => return self.deny(&mut state.replica, denied),
        };
        match admitted {
            Admitted::Primary(mut primary) => {
                let flow = &primary.replica.flow;
                if self.is_paused(flow, writes) || self.is_slowed(flow, writes) {
                    return Outcome::Busy;
                }
                self.manage_libraries(&mut primary, command, (spec, args))
            }
            Admitted::Replica | Admitted::Free => {
                if let Some(refusal) = self.stale(&state.replica) {
                    return self.deny(&mut state.replica, refusal.into());
                }
                if self.is_paused(&state.replica.flow, writes) {
                    return Outcome::Busy;
                }
                self.show(&mut state.replica);
                self.show_libraries(&mut state.replica, command, args);
                Outcome::REPLY
            }
        }
    }

    /// Shows or changes libraries, as the primary.
    fn manage_libraries(
        &mut self,
        primary: &mut Primary<'_>,
        command: ScriptCommand,
        (spec, args): (&'static CommandSpec, Args<'_>),
    ) -> Outcome {
        let attempt = match self.attempt(primary, || payload_of_command(args)) {
            Attempt::Runs(attempt) => attempt,
            Attempt::Answered(outcome) => return outcome,
        };
        if spec.flags.has(Flags::DENYOOM) && primary.replica.data.engine.is_out_of_memory() {
            self.refuse(&primary.replica.flow, &Refusal::OutOfMemory);
            return Outcome::REPLY;
        }
        let recording = self.record(attempt);
        let unit = self.begin_unit(primary);
        self.manage_at(&mut RunPlace::Primary(primary), command, args);
        let wrote = self.end_recorded(primary, unit, recording);
        self.reply(primary, wrote, |primary| primary.leader.dirty.last_change(LIBRARIES_HASH))
    }

    /// Runs a command that runs no script within the unit of EXEC, or as this one's own.
    pub(crate) fn manage_at(&mut self, place: &mut RunPlace<'_, '_>, command: ScriptCommand, args: Args<'_>) {
        match (command, place) {
            (
                ScriptCommand::FunctionLoad
                | ScriptCommand::FunctionDelete
                | ScriptCommand::FunctionFlush
                | ScriptCommand::FunctionRestore,
                RunPlace::Primary(primary),
            ) => {
                if let Err(line) = self.change_libraries(primary, command, args) {
                    self.out.error(line);
                }
            }
            (ScriptCommand::FunctionList | ScriptCommand::FunctionDump, place) => {
                self.show_libraries(place.replica(), command, args);
            }
            (_, place) => self.manage_cache(place.replica(), command, args),
        }
    }

    /// Runs a command on the cache of scripts, or on the run that is suspended.
    fn manage_cache(&mut self, replica: &mut Replica, command: ScriptCommand, args: Args<'_>) {
        let runtime = &mut replica.scripts.runtime;
        match command {
            ScriptCommand::ScriptLoad => {
                let loaded = check_length(args.get(2))
                    .and_then(|()| runtime.load(args.get(2), Origin::Load).map_err(|error| error.line));
                match loaded {
                    Ok(sha) => self.out.bulk(sha.as_bytes()),
                    Err(line) => self.out.error(line),
                }
            }
            ScriptCommand::ScriptExists => {
                let names = args.skip(2);
                self.out.array(names.len());
                for name in names.iter() {
                    let exists = Sha::from_argument(name).is_some_and(|sha| runtime.source(sha).is_some());
                    self.out.integer(i64::from(exists));
                }
            }
            ScriptCommand::ScriptShow => match Sha::from_argument(args.get(2)).and_then(|sha| runtime.source(sha)) {
                Some(source) => self.out.bulk(source),
                None => self.out.error(NO_SCRIPT),
            },
            ScriptCommand::ScriptFlush => match flush_mode(args) {
                true => {
                    runtime.flush();
                    self.out.ok();
                }
                false => self.out.error("ERR SCRIPT FLUSH only support SYNC|ASYNC option"),
            },
            ScriptCommand::ScriptKill => self.kill(replica, false),
            ScriptCommand::FunctionKill => self.kill(replica, true),
            ScriptCommand::FunctionStats => self.function_stats(replica),
            _ => self.refuse(&replica.flow, &Refusal::ReadOnly),
        }
    }

    fn kill(&mut self, replica: &mut Replica, is_function: bool) {
        let Some(suspended) = &mut replica.scripts.suspended else {
            return self.out.error("NOTBUSY No scripts in execution right now.");
        };
        let run = &mut suspended.run;
        if run.wrote {
            self.out.error(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait \
                 the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
            );
        } else if run.is_function == is_function {
            run.killed = Some(if is_function { KILLED_FUNCTION } else { KILLED_SCRIPT });
            self.out.ok();
        } else {
            let refusal = Refusal::ScriptRuns { is_function: run.is_function };
            self.refuse(&replica.flow, &refusal);
        }
    }

    fn function_stats(&mut self, replica: &mut Replica) {
        replica.install_libraries();
        let counts = replica.scripts.counts();
        self.out.map(2);
        self.out.bulk("running_script");
        match &replica.scripts.suspended {
            Some(suspended) => {
                let run = &suspended.run;
                self.out.map(3);
                self.out.bulk("name");
                self.out.bulk(&run.name);
                self.out.bulk("command");
                self.out.array(run.command.len());
                run.command.iter().for_each(|arg| self.out.bulk(arg));
                self.out.bulk("duration_ms");
                self.out.integer(self.now.boot.since(run.started).as_millis() as i64);
            }
            None => self.out.null(),
        }
        self.out.bulk("engines");
        self.out.map(1);
        self.out.bulk("LUA");
        self.out.map(2);
        self.out.bulk("libraries_count");
        self.out.integer(counts.libraries as i64);
        self.out.bulk("functions_count");
        self.out.integer(counts.functions as i64);
    }
}

/// Whether the arguments are those of SCRIPT FLUSH. The two modes do the same.
fn flush_mode(args: Args<'_>) -> bool {
    match (args.try_get(2), args.len()) {
        (None, _) => true,
        (Some(mode), 3) => mode.eq_ignore_ascii_case(b"sync") || mode.eq_ignore_ascii_case(b"async"),
        _ => false,
    }
}
