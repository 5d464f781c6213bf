//! Tests of `super::table`.
