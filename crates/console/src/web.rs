//! The web console.
//!
//! - [`feed`]: watches the cluster while somebody looks, and publishes [`frame`]s: one for all viewers.
//! - `page`, `sections`, `chart`, `timeline`: HTML and SVG of a `scene`; pure. [`news`]: what has changed, in words.
//! - [`router`]: the paths. `stream`: sends the parts of the page that have changed.
//! - [`access`]: who may see the console. [`verbs`]: what a lab offers as buttons. `presses`: who may press them.
//!
//! Nothing is fetched from elsewhere: style and script are files of the console itself, and the policy that each
//! response carries (`router::POLICY`) forbids everything else, inline script included.

pub mod access;
mod chart;
pub mod feed;
pub mod frame;
pub mod news;
mod page;
pub mod presses;
pub mod router;
mod scene;
mod sections;
mod stream;
mod timeline;
pub mod verbs;
