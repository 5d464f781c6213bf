//! What an operator sees of a cluster: in a terminal (`fastness top`) and in a browser (the web console).
//!
//! ```text
//! watch::sample (each node, polled by itself) ─▶ watched (the newest reports) ─▶ overview (figures of one moment)
//!                                                             │
//!              web::page (HTML, pure) ◀─ web::feed (frames for all viewers) ◀─┘
//!                     │
//!              web::router (pages, the stream, the verbs of a lab) ─▶ http (connections, with bounds)
//! ```
//!
//! - [`watch`] shows nothing but what nodes have reported; a figure that no node has reported is missing.
//! - [`web`] renders on the server. The page works without script; the script replaces parts of it as they change.
//! - [`http`] serves connections with bounds in number and in time. A node serves its whole metrics port with it.
//!
//! Not known here: how nodes are reached ([`watch::calls`]), users and passwords ([`web::access`]), and how the nodes
//! of a lab are killed and started ([`web::verbs`]). Whoever serves a console passes these in.

pub mod http;
pub mod watch;
pub mod web;
