//! The commands that a script runs.
//!
//! The checks come in Valkey's order: the command and its arguments, whether scripts may run it, the rights of the
//! connection's user, whether the script may write, memory, slots. Texts are Valkey's.

use fastness_engine::command::{CommandSpec, Flags, Run, Scope};
use fastness_resp::{Args, Protocol, ReplyBuf};
use fastness_types::Seq;

use super::place::RunPlace;
use super::script_run::ScriptRun;
use crate::execution::{Execution, depends_on};
use crate::front_end::ExecutedQueued;
use crate::memory_check::MemoryCheck;
use crate::refusal::Refusal;
use crate::slots_seen::SlotsSeen;

const UNKNOWN: &[u8] = b"ERR Unknown command called from script";
const ARITY: &[u8] = b"ERR Wrong number of args calling command from script";
const NOT_ALLOWED: &[u8] = b"ERR This Valkey command is not allowed from script";
const READ_ONLY: &[u8] = b"ERR Write commands are not allowed from read-only scripts.";
const NOT_LOCAL: &[u8] = b"ERR Attempted to access a non local key in a cluster node";
const OTHER_SLOT: &[u8] = b"ERR Script attempted to access keys that do not hash to the same slot";

impl Execution<'_> {
    /// Executes a command of a script; returns its reply.
    pub(super) fn call(
        &mut self,
        place: &mut RunPlace<'_, '_>,
        run: &mut ScriptRun,
        args: &[Vec<u8>],
        protocol: Protocol,
    ) -> Vec<u8> {
        let args = Args::owned(args);
        let replies = std::mem::replace(self.out, ReplyBuf::new(protocol));
        let now = std::mem::replace(&mut self.now, run.now);
        match self.check_call(place, run, args) {
            Ok(Some(spec)) => self.execute_call(place, run, spec, args),
            // The front end has written the refusal.
            Ok(None) => {}
            Err(line) => self.out.error(line),
        }
        self.now = now;
        std::mem::replace(self.out, replies).to_vec()
    }

    /// Whether the user could run a command (`redis.acl_check_cmd`); `None`: there is no such command.
    pub(super) fn may_run(&mut self, args: &[Vec<u8>]) -> Option<bool> {
        let args = Args::owned(args);
        let spec = self.edges.commands.look_up(args).ok()?;
        Some(self.front_end.may_run(spec, args))
    }

    /// The command, if the script may run it; `Ok(None)`: the front end has refused it.
    fn check_call(
        &mut self,
        place: &mut RunPlace<'_, '_>,
        run: &mut ScriptRun,
        args: Args<'_>,
    ) -> Result<Option<&'static CommandSpec>, Vec<u8>> {
        let spec = self.find_command(args)?;
        let is_debug = spec.name == "debug" && place.replica().scripts.allows_debug;
        if spec.flags.has(Flags::NOSCRIPT) && !is_debug {
            return Err(NOT_ALLOWED.to_vec());
        }
        if !self.front_end.permit_in_script(spec, args, self.out) {
            return Ok(None);
        }
        let writes = spec.flags.has(Flags::WRITE);
        if run.read_only && (writes || spec.is_replicated()) {
            return Err(READ_ONLY.to_vec());
        }
        if writes && matches!(place, RunPlace::Reading(..)) {
            return Err(Refusal::ReadOnly.text().into_bytes());
        }
        // After the first write no command is refused in the middle.
        if run.lacks_memory && !run.allow_oom && !run.wrote && spec.flags.has(Flags::DENYOOM) {
            return Err(Refusal::OutOfMemory.text().into_bytes());
        }
        self.check_slots(place, run, spec, args)?;
        run.wrote |= writes;
        Ok(Some(spec))
    }

    fn find_command(&self, args: Args<'_>) -> Result<&'static CommandSpec, Vec<u8>> {
        let commands = self.edges.commands;
        let error = match commands.look_up(args) {
            Ok(spec) => return Ok(spec),
            Err(error) => error,
        };
        Err(match commands.of_request(args) {
            Some(spec) if spec.is_implemented && !spec.takes(args.len()) => ARITY.to_vec(),
            Some(spec) if spec.is_implemented || matches!(spec.run, Run::Refused(_)) => error.as_ref().to_vec(),
            _ => UNKNOWN.to_vec(),
        })
    }

    /// Whether the shard has the slots of a command's keys, and the script may use them.
    fn check_slots(
        &self,
        place: &mut RunPlace<'_, '_>,
        run: &mut ScriptRun,
        spec: &'static CommandSpec,
        args: Args<'_>,
    ) -> Result<(), Vec<u8>> {
        let request = self.request(spec, args, None);
        if request.has_long_key {
            return Err(Refusal::KeyTooLong.text().into_bytes());
        }
        match request.slots {
            SlotsSeen::None => {}
            SlotsSeen::One(slot) if place.replica().data.owns(slot) => {
                if !run.cross_slot && run.slots.and(slot) == SlotsSeen::Several {
                    return Err(OTHER_SLOT.to_vec());
                }
                run.slots = SlotsSeen::One(slot);
            }
            SlotsSeen::One(_) | SlotsSeen::Several => return Err(NOT_LOCAL.to_vec()),
        }
        if let RunPlace::Reading(_, replica) = place {
            let shows_data = matches!(spec.run, Run::Data(_)) && spec.scope != Scope::Nothing;
            if shows_data && self.is_uncertain(replica, spec, args) {
                return Err(Refusal::CutOff.text().into_bytes());
            }
        }
        Ok(())
    }

    fn execute_call(
        &mut self,
        place: &mut RunPlace<'_, '_>,
        run: &mut ScriptRun,
        spec: &'static CommandSpec,
        args: Args<'_>,
    ) {
        let began = self.edges.clock.boot();
        let shown = match place {
            RunPlace::Primary(primary) => {
                let of_keys = match spec.run {
                    Run::Data(_) => depends_on(primary, spec, args, None),
                    _ => Seq(0),
                };
                // Memory was checked when the script started.
                match self.exec_one(primary, spec, args, MemoryCheck::Done) {
                    true => primary.leader.stage.last_staged(),
                    false => of_keys,
                }
            }
            RunPlace::Reading(leader, replica) => {
                self.exec_one_reading(*leader, replica, spec, args);
                Seq(0)
            }
        };
        run.depends_on = run.depends_on.max(shown);
        let took = self.edges.clock.boot().since(began);
        let (reply_bytes, reply) = (self.out.len(), self.out.buf().piece_at(0));
        self.front_end.executed_in_script(&ExecutedQueued { spec, args, took, reply_bytes, reply });
    }
}
