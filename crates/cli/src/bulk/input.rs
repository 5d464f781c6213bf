//! Reads the input, in a thread of its own, as long as there is room for it.

use std::io::{ErrorKind, Read};
use std::sync::Arc;

use fastness_resp::request::{ArgSpans, Limits, Parsed, parse};
use parking_lot::{Condvar, Mutex};

use super::splitter::Splitter;
use super::unit::{Item, Memory};
use crate::error::CliError;

/// Bytes of one read.
const READ_BYTES: usize = 128 * 1024;
/// Longest command, bytes.
const COMMAND_BYTES_MAX: usize = 1 << 30;
/// What a unit takes besides its bytes.
const UNIT_OVERHEAD: usize = 128;

/// Memory for what was read and is not answered.
pub struct Budget {
    max: usize,
    used: Mutex<usize>,
    returned: Condvar,
}

impl Budget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(max: usize) -> Budget {
        Budget { max, used: Mutex::new(0), returned: Condvar::new() }
    }

    /// Waits until there are this many bytes, or until nothing else is in use. Dropping the result returns them.
    fn reserve(self: &Arc<Budget>, bytes: usize) -> Memory {
        let mut used = self.used.lock();
        while *used > 0 && *used + bytes > self.max {
            self.returned.wait(&mut used);
        }
        *used += bytes;
        Memory(Box::new(Reserved { budget: self.clone(), bytes }))
    }
}

struct Reserved {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        *self.budget.used.lock() -= self.bytes;
        self.budget.returned.notify_one();
    }
}

/// Reads to the end, or until `pass` returns that nobody takes any more.
pub fn read_all(
    mut source: impl Read,
    mut splitter: Splitter,
    budget: &Arc<Budget>,
    mut pass: impl FnMut(Item) -> bool,
) {
    let mut pass = |item| pass(with_memory(item, budget));
    let mut buffer = CommandBuffer::default();
    loop {
        while let Some(item) = buffer.next(&mut splitter) {
            let is_broken = matches!(item, Item::Broken(_));
            if !pass(item) || is_broken {
                return;
            }
        }
        match buffer.fill(&mut source) {
            Ok(true) => {}
            Ok(false) => {
                let open = splitter.finish().into_iter().chain(buffer.finish());
                for item in open {
                    pass(item);
                }
                return;
            }
            Err(error) => {
                pass(Item::Broken(error));
                return;
            }
        }
    }
}

fn with_memory(mut item: Item, budget: &Arc<Budget>) -> Item {
    if let Item::Unit(unit) = &mut item {
        unit.memory = Some(budget.reserve(unit.bytes.len() + UNIT_OVERHEAD));
    }
    item
}

/// What was read and is not a whole command yet.
#[derive(Default)]
struct CommandBuffer {
    bytes: Vec<u8>,
    /// Where the next command starts.
    start: usize,
    spans: ArgSpans,
    /// Bytes of the input before the start of `bytes`.
    passed: u64,
    /// The last line has no end.
    is_at_end: bool,
}

impl CommandBuffer {
    fn at(&self) -> u64 {
        self.passed + self.start as u64
    }

    /// The next item; `None`: more is needed.
    fn next(&mut self, splitter: &mut Splitter) -> Option<Item> {
        loop {
            let rest = &self.bytes[self.start..];
            match parse(rest, &mut self.spans, &Limits::DEFAULT) {
                Err(error) => return Some(Item::Broken(CliError::Malformed { at: self.at(), error })),
                Ok(Parsed::Incomplete { .. }) => return None,
                Ok(Parsed::Complete { consumed }) => {
                    let request = &rest[..consumed];
                    let is_inline = !matches!(request.first(), Some(b'*' | b'|'));
                    let end = self.passed + (self.start + consumed) as u64;
                    let item = if self.spans.is_empty() {
                        None
                    } else {
                        splitter.take(self.spans.args(rest), (!is_inline).then_some(request), end)
                    };
                    self.start += consumed;
                    if item.is_some() {
                        return item;
                    }
                }
            }
        }
    }

    /// Reads on; `false` at the end of the input.
    fn fill(&mut self, source: &mut impl Read) -> Result<bool, CliError> {
        self.bytes.drain(..self.start);
        self.passed += self.start as u64;
        self.start = 0;
        if self.bytes.len() > COMMAND_BYTES_MAX {
            return Err(CliError::InputTooLong { what: "command", max: COMMAND_BYTES_MAX as u64 });
        }
        let len = self.bytes.len();
        self.bytes.resize(len + READ_BYTES, 0);
        let read = loop {
            match source.read(&mut self.bytes[len..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.bytes.truncate(len + *read.as_ref().unwrap_or(&0));
        match read {
            Err(error) => Err(CliError::Input(error)),
            // The last line may lack its end.
            Ok(0) if !self.is_at_end && self.has_line() => {
                self.is_at_end = true;
                self.bytes.push(b'\n');
                Ok(true)
            }
            Ok(0) => Ok(false),
            Ok(_) => Ok(true),
        }
    }

    fn has_line(&self) -> bool {
        self.bytes.first().is_some_and(|first| !matches!(first, b'*' | b'|'))
    }

    /// What is left at the end of the input.
    fn finish(&self) -> Option<Item> {
        (!self.bytes.is_empty()).then(|| Item::Broken(CliError::Truncated { at: self.at() }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use fastness_engine::command::table;

    use super::*;

    /// A source that gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let len = self.1.min(self.0.len()).min(buf.len());
            let (now, later) = self.0.split_at(len);
            buf[..len].copy_from_slice(now);
            self.0 = later;
            Ok(len)
        }
    }

    fn items(input: &[u8], step: usize) -> Vec<Item> {
        let mut items = Vec::new();
        let budget = Arc::new(Budget::new(usize::MAX));
        read_all(Slow(input, step), Splitter::new(table(), 0), &budget, |item| {
            items.push(item);
            true
        });
        items
    }

    #[test]
    fn resp_and_lines_can_be_mixed_however_they_arrive() {
        let input = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\nSET b 'x y'\n\n*0\r\n|1\r\n$3\r\nx-y\r\n$1\r\nz\r\n\
                      *2\r\n$3\r\nGET\r\n$1\r\na\r\nGET b";
        for step in [1, 3, 7, 1000] {
            let items = items(input, step);
            let units: Vec<_> = items
                .iter()
                .map(|item| match item {
                    Item::Unit(unit) => (unit.number, unit.bytes.as_slice()),
                    other => panic!("{other:?}"),
                })
                .collect();
            let attribute = b"|1\r\n$3\r\nx-y\r\n$1\r\nz\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
            assert_eq!(units[0], (1, &b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\n"[..]));
            assert_eq!(units[1], (2, &b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$3\r\nx y\r\n"[..]));
            assert_eq!(units[2], (3, &attribute[..]));
            assert_eq!(units[3], (4, &b"*2\r\n$3\r\nGET\r\n$1\r\nb\r\n"[..]));
            assert_eq!(units.len(), 4);
        }
    }

    #[test]
    fn what_is_no_command_ends_the_input() {
        let of = |input: &[u8]| match items(input, 5).pop() {
            Some(Item::Broken(error)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        let text = of(b"GET a\n*1\r\n+x\r\nGET b\n");
        assert!(text.starts_with("standard input, byte 6: Protocol error: expected '$'"), "{text}");
        assert!(
            of(b"GET a\n*2\r\n$3\r\nGET\r\n$10\r\nabc").starts_with("standard input ends within a command, at byte 6")
        );
        assert!(of(b"GET \"a\n").contains("unbalanced quotes"));
    }

    /// A fast source does not fill the memory: reading stops at the bound, and resumes as units are dropped.
    #[test]
    fn memory_is_bounded() {
        const COMMANDS: usize = 2000;
        let input: Vec<u8> = b"SET a 1\n".repeat(COMMANDS);
        let budget = Arc::new(Budget::new(10_000));
        let (sender, receiver) = std::sync::mpsc::channel();
        let read = Arc::new(AtomicUsize::new(0));
        let (counted, shared) = (read.clone(), budget.clone());
        let reader = std::thread::spawn(move || {
            read_all(&input[..], Splitter::new(table(), 0), &shared, |item| {
                counted.fetch_add(1, Ordering::Relaxed);
                sender.send(item).is_ok()
            });
        });
        let mut ahead_max = 0;
        for taken in 1..=COMMANDS {
            drop(receiver.recv_timeout(Duration::from_secs(30)).unwrap());
            ahead_max = ahead_max.max(read.load(Ordering::Relaxed) - taken.min(read.load(Ordering::Relaxed)));
        }
        reader.join().unwrap();
        assert!(ahead_max < 100, "{ahead_max} commands were read ahead");
        assert_eq!(*budget.used.lock(), 0);
    }

    #[test]
    fn one_unit_may_exceed_the_budget() {
        let budget = Arc::new(Budget::new(10));
        let large = budget.reserve(1000);
        assert_eq!(*budget.used.lock(), 1000);
        drop(large);
        let (first, second) = (budget.reserve(5), budget.reserve(5));
        drop((first, second));
        assert_eq!(*budget.used.lock(), 0);
    }
}
