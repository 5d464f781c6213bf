//! Fields of events: typed where an event is recorded, a number, a truth value or a text wherever it is read.

use std::fmt;

use fastness_types::{Durability, GroupId, LogIndex, NodeId, ShardId};

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A count, a number of a node, a span in the unit that the field's name ends with.
    Unsigned(u64),
    /// A number that may be negative.
    Signed(i64),
    /// A truth value.
    Bool(bool),
    /// A text: a reason, or a list of names.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Unsigned(number) => number.fmt(f),
            Value::Signed(number) => number.fmt(f),
            Value::Bool(truth) => truth.fmt(f),
            Value::Text(text) => text.fmt(f),
        }
    }
}

/// A type that fields of events may have.
pub trait Field {
    /// The type in a log line.
    type Logged<'a>: tracing::Value
    where
        Self: 'a;
    /// The value as a log line has it.
    fn logged(&self) -> Self::Logged<'_>;
    /// The value as readers of events get it; `None`: it does not apply.
    fn value(&self) -> Option<Value>;
}

impl Field for u64 {
    type Logged<'a> = u64;

    fn logged(&self) -> u64 {
        *self
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Unsigned(*self))
    }
}

impl Field for i64 {
    type Logged<'a> = i64;

    fn logged(&self) -> i64 {
        *self
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Signed(*self))
    }
}

impl Field for bool {
    type Logged<'a> = bool;

    fn logged(&self) -> bool {
        *self
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Bool(*self))
    }
}

impl Field for String {
    type Logged<'a> = &'a str;

    fn logged(&self) -> &str {
        self
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Text(self.clone()))
    }
}

impl Field for &'static str {
    type Logged<'a> = &'static str;

    fn logged(&self) -> &'static str {
        self
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Text((*self).to_owned()))
    }
}

impl Field for Durability {
    type Logged<'a> = &'static str;

    fn logged(&self) -> &'static str {
        self.name()
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Text(self.name().to_owned()))
    }
}

macro_rules! numbered {
    ($($id:ty),*) => {$(
        impl Field for $id {
            type Logged<'a> = u64;

            fn logged(&self) -> u64 {
                u64::from(self.0)
            }

            fn value(&self) -> Option<Value> {
                Some(Value::Unsigned(u64::from(self.0)))
            }
        }
    )*};
}

numbered!(NodeId, GroupId, ShardId, LogIndex);

impl<F: Field> Field for Option<F> {
    type Logged<'a>
        = Option<F::Logged<'a>>
    where
        F: 'a;

    fn logged(&self) -> Option<F::Logged<'_>> {
        self.as_ref().map(Field::logged)
    }

    fn value(&self) -> Option<Value> {
        self.as_ref().and_then(Field::value)
    }
}
