//! A change of a list. It names elements by their position from the head, or counts them from an end, so that it means
//! the same on every replica and needs no comparison of values.

use crate::codec::varint;
use crate::effect::Items;
use crate::error::CommandError;

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListEnd {
    /// Where the first element is: `LEFT` in commands.
    Head,
    /// Where the last element is: `RIGHT` in commands.
    Tail,
}

impl ListEnd {
    /// Reads `LEFT` or `RIGHT`.
    pub(super) fn parse(word: &[u8]) -> Result<ListEnd, CommandError> {
        if word.eq_ignore_ascii_case(b"left") {
            Ok(ListEnd::Head)
        } else if word.eq_ignore_ascii_case(b"right") {
            Ok(ListEnd::Tail)
        } else {
            Err(CommandError::Syntax)
        }
    }

    /// The event of a push here.
    pub(super) fn pushed(self) -> &'static str {
        if self == ListEnd::Head { "lpush" } else { "rpush" }
    }

    /// The event of a pop here.
    pub(super) fn popped(self) -> &'static str {
        if self == ListEnd::Head { "lpop" } else { "rpop" }
    }
}

/// What changes. Whatever names an element that does not exist changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListChange<'a> {
    /// Adds elements at an end, one after the other; a missing key counts as an empty list.
    Push {
        /// Where.
        end: ListEnd,
        /// The elements; the last one is then at the end.
        elements: Items<'a>,
    },
    /// Removes elements from the ends, and the key with its last element.
    Trim {
        /// How many from the head.
        head: u64,
        /// How many from the tail.
        tail: u64,
    },
    /// Replaces an element.
    Set {
        /// Its position.
        index: u64,
        /// Its new value.
        element: &'a [u8],
    },
    /// Adds an element beside another one.
    Insert {
        /// The position of the other one.
        pivot: u64,
        /// The value of the other one, which no element before it has; `None`: not recorded, by an older version. It
        /// decides nothing: it is for readers that do not have the list.
        value: Option<&'a [u8]>,
        /// Whether it is added after that one, not before.
        after: bool,
        /// The element.
        element: &'a [u8],
    },
    /// Removes elements, and the key with its last element.
    Remove {
        /// Their positions; see [`write_positions`].
        positions: &'a [u8],
    },
    /// Removes the element at an end, and adds it at an end.
    Rotate {
        /// The end at which the element is.
        from: ListEnd,
        /// The end at which it is then: the other one, or the same.
        to: ListEnd,
    },
    /// Adds a node at the tail, as a restored list has it; a missing key counts as an empty list.
    AddNode {
        /// Whether the node is the plain text of its one element.
        plain: bool,
        /// Its elements, at least one.
        elements: Items<'a>,
    },
}

impl ListChange<'_> {
    /// Whether it makes a list where there is none.
    pub(super) fn creates(&self) -> bool {
        match self {
            ListChange::Push { elements, .. } | ListChange::AddNode { elements, .. } => !elements.is_empty(),
            _ => false,
        }
    }

    /// Whether it leaves no element of a list of this length.
    pub(super) fn empties(&self, len: usize) -> bool {
        match self {
            ListChange::Trim { head, tail } => head.saturating_add(*tail) >= len as u64,
            ListChange::Remove { positions } => read_positions(positions).take_while(|at| *at < len).count() == len,
            _ => false,
        }
    }
}

/// Writes positions, which rise: the first as a number, and of each other the distance from the one before it, as
/// varints.
#[must_use]
pub fn write_positions(positions: &[usize]) -> Vec<u8> {
    let mut out = Vec::with_capacity(positions.len());
    let mut before = 0;
    for position in positions {
        varint::write(&mut out, (position - before) as u64);
        before = *position;
    }
    out
}

/// Reads positions that [`write_positions`] wrote, until the end or the first that does not rise.
pub fn read_positions(mut bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut before = None;
    std::iter::from_fn(move || {
        let distance = usize::try_from(varint::read(&mut bytes).ok()?).ok()?;
        let position = match before {
            None => distance,
            Some(_) if distance == 0 => return None,
            Some(before) => distance.checked_add(before)?,
        };
        before = Some(position);
        Some(position)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_were_written() {
        for positions in [&[][..], &[0], &[5], &[0, 1, 2, 300, 301, 1_000_000]] {
            assert_eq!(read_positions(&write_positions(positions)).collect::<Vec<_>>(), positions);
        }
        assert_eq!(read_positions(&[1, 0, 1]).collect::<Vec<_>>(), [1], "positions rise");
        assert_eq!(read_positions(&[1, 0x80]).collect::<Vec<_>>(), [1], "a position that ends early");
        let far = [&[0xff; 9][..], &[1], &[0xff; 9], &[1]].concat();
        assert_eq!(read_positions(&far).collect::<Vec<_>>(), [usize::MAX]);
    }

    #[test]
    fn what_leaves_nothing() {
        let all = write_positions(&[0, 1, 2]);
        assert!(
            ListChange::Remove { positions: &all }.empties(3) && !ListChange::Remove { positions: &all }.empties(4)
        );
        assert!(
            ListChange::Trim { head: u64::MAX, tail: 7 }.empties(3) && ListChange::Trim { head: 2, tail: 1 }.empties(3)
        );
        assert!(!ListChange::Trim { head: 1, tail: 1 }.empties(3));
    }
}
