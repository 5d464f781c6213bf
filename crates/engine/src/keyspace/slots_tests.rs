//! Tests of `super::slots`.
