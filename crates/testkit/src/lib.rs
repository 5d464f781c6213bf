//! What tests share: a cluster of real processes and the faults it is given, workloads whose histories are checked, and
//! a simulation of a whole cluster on one thread. Load and its ledger are `fastness-load`.

pub mod bench;
pub mod browser;
pub mod chaos;
pub mod clients;
pub mod cluster;
pub mod counting;
pub mod differential;
pub mod history;
pub mod keys;
pub mod lab_console;
pub mod observe;
pub mod partition;
pub mod payload;
pub mod plants;
pub mod ports;
pub mod programs;
pub mod proof;
pub mod reply_text;
pub mod schedules;
pub mod seed;
pub mod sim;
pub mod soak;
pub mod terminal;
pub mod wait;
pub mod watching;
