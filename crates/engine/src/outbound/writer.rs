//! How commands are written: as arrays of bulk strings.

use crate::stream::StreamId;

/// Appends commands to bytes.
pub(super) struct CommandWriter<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> CommandWriter<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> CommandWriter<'o> {
        CommandWriter { out }
    }

    /// Starts a command of `count` arguments after its name, which follow.
    pub(super) fn start(&mut self, name: &str, count: usize) -> &mut Self {
        self.line(b'*', count + 1);
        self.arg(name.as_bytes())
    }

    /// Writes a command as a whole.
    pub(super) fn command(&mut self, name: &str, args: &[&[u8]]) {
        self.start(name, args.len());
        args.iter().for_each(|arg| _ = self.arg(arg));
    }

    pub(super) fn arg(&mut self, arg: &[u8]) -> &mut Self {
        self.line(b'$', arg.len());
        self.out.extend_from_slice(arg);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    pub(super) fn args<'a>(&mut self, args: impl Iterator<Item = &'a [u8]>) -> &mut Self {
        args.for_each(|arg| _ = self.arg(arg));
        self
    }

    pub(super) fn number(&mut self, number: impl itoa::Integer) -> &mut Self {
        self.arg(itoa::Buffer::new().format(number).as_bytes())
    }

    pub(super) fn id(&mut self, id: StreamId) -> &mut Self {
        self.arg(id.to_string().as_bytes())
    }

    fn line(&mut self, kind: u8, len: usize) {
        self.out.push(kind);
        self.out.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }
}
