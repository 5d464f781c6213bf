//! What is known of a cluster, from the reports of its nodes.
//!
//! - [`calls`]: how nodes are called. [`sample`], [`pollers`]: the only parts that call them. [`journal_cursor`]: reads
//!   a journal. [`watched`]: what is known.
//! - [`views`], [`overview`], [`measure`], [`history`], [`text`]: conclusions and figures; pure.

pub mod calls;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod history;
pub mod journal_cursor;
pub mod measure;
pub mod overview;
pub mod pollers;
pub mod sample;
pub mod text;
pub mod views;
pub mod watched;
