//! Tests of `super::entry`.
