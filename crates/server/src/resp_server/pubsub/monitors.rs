//! Connections that have sent MONITOR, and the line by which they see a command.
//!
//! A line goes the way of a message of a channel: encoded once, shared by its receivers, between two replies.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use fastness_engine::command::{CommandSpec, Flags};
use fastness_resp::Args;

use crate::resp_server::clients::Client;
use crate::resp_server::command_log::REDACTED;

/// Bytes around the arguments of a line, about.
const FRAME_BYTES: usize = 64;

/// See the module.
#[derive(Default)]
pub struct Monitors {
    clients: RefCell<Vec<Rc<Client>>>,
    is_any: Cell<bool>,
}

impl Monitors {
    /// Whether anybody monitors.
    #[inline]
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.is_any.get()
    }

    /// Adds a connection; `false`: it monitors already.
    pub fn enter(&self, client: &Rc<Client>) -> bool {
        if client.monitors.replace(true) {
            return false;
        }
        self.clients.borrow_mut().push(client.clone());
        self.is_any.set(true);
        true
    }

    /// Removes a connection, if it monitors.
    pub fn leave(&self, client: &Client) {
        if client.monitors.replace(false) {
            let mut clients = self.clients.borrow_mut();
            clients.retain(|other| other.id != client.id);
            self.is_any.set(!clients.is_empty());
        }
    }

    /// Passes each of them to `each`.
    pub(super) fn each(&self, each: impl FnMut(&Rc<Client>)) {
        self.clients.borrow().iter().for_each(each);
    }
}

/// Whether MONITOR shows a command that has run: not those of operators, whose arguments may be secrets.
#[must_use]
pub fn is_shown(spec: &CommandSpec) -> bool {
    !spec.flags.has_any(Flags(Flags::ADMIN.0 | Flags::SKIP_MONITOR.0))
}

/// The least that the line of a command takes, bytes.
#[must_use]
pub fn line_bytes_min(args: Args<'_>) -> usize {
    args.iter().map(|arg| arg.len() + 3).sum()
}

/// The line of a command that ran at this time since the Unix epoch, sent by the client of this address or by a script.
#[must_use]
pub fn line(spec: &CommandSpec, args: Args<'_>, client: &dyn std::fmt::Display, at: Duration) -> Vec<u8> {
    let mut hidden = Vec::new();
    spec.secrets(args, &mut |secret| hidden.push(secret));
    hidden.sort_unstable();
    let mut line = String::with_capacity(FRAME_BYTES + line_bytes_min(args));
    let _ = write!(line, "+{}.{:06} [0 {client}]", at.as_secs(), at.subsec_micros());
    for (i, arg) in args.iter().enumerate() {
        line.push_str(" \"");
        let shown = if hidden.binary_search(&i).is_ok() { REDACTED } else { arg };
        shown.iter().for_each(|byte| push_escaped(&mut line, *byte));
        line.push('"');
    }
    line.push_str("\r\n");
    line.into_bytes()
}

/// Appends a byte as Valkey prints it inside of quotes.
fn push_escaped(line: &mut String, byte: u8) {
    match byte {
        b'"' | b'\\' => line.extend(['\\', char::from(byte)]),
        b'\n' => line.push_str("\\n"),
        b'\r' => line.push_str("\\r"),
        b'\t' => line.push_str("\\t"),
        0x07 => line.push_str("\\a"),
        0x08 => line.push_str("\\b"),
        b' '..=b'~' => line.push(char::from(byte)),
        _ => {
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[track_caller]
    fn check(words: &[&[u8]], shown: &str) {
        let args = Args::slices(words);
        let spec = crate::resp_server::command::table().of_request(args).unwrap();
        let line = line(spec, args, &"127.0.0.1:60866", Duration::from_micros(1_339_518_083_007_412));
        let expected = format!("+1339518083.007412 [0 127.0.0.1:60866] {shown}\r\n");
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    #[test]
    fn arguments_are_quoted_as_valkey_quotes_them() {
        check(&[b"keys", b"*"], r#""keys" "*""#);
        let bytes = b"a\"\\\n\r\t\x07\x08\x00\xff\x7f 'z";
        check(&[b"SET", b"k", bytes], r#""SET" "k" "a\"\\\n\r\t\a\b\x00\xff\x7f 'z""#);
        check(&[b"SET", b"", b""], r#""SET" "" """#);
    }

    #[test]
    fn secrets_are_not_shown() {
        check(&[b"AUTH", b"s3"], r#""AUTH" "(redacted)""#);
        check(&[b"auth", b"user", b"s3"], r#""auth" "(redacted)" "(redacted)""#);
        let hello: &[&[u8]] = &[b"HELLO", b"2", b"AUTH", b"user", b"s3", b"SETNAME", b"me"];
        check(hello, r#""HELLO" "2" "AUTH" "(redacted)" "(redacted)" "SETNAME" "me""#);
    }

    #[test]
    fn commands_of_operators_are_not_shown() {
        let is_shown = |name: &str| is_shown(crate::resp_server::command::table().named(name.as_bytes()).unwrap());
        for name in ["acl|setuser", "config|set", "monitor", "client|list", "slowlog|get"] {
            assert!(!is_shown(name), "{name}");
        }
        for name in ["get", "auth", "hello", "multi", "exec", "client|id", "info", "acl|whoami"] {
            assert!(is_shown(name), "{name}");
        }
    }
}
