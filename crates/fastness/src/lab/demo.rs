//! `fastness lab demo`: what happens to a load under a fault, told step by step, with a verdict at the end.
//!
//! Every demo starts a cluster of its own in a temporary folder, and removes it, unless `--dir` names one, which is
//! left as it was. Only an interruption (Ctrl-C, SIGTERM) ends a row of demos early.

use anyhow::{Error, Result};

use super::load::judgement::verdict_line;
use crate::table::Table;
pub use arguments::DemoArguments;
use arguments::{ALL, DemoName};
use stage::{Ending, Interrupted};

mod arguments;
mod block;
mod faults;
mod payments;
mod settings;
mod stage;
mod stall;
mod switch;
mod valkey;

/// Runs one demo or all, and returns the exit status: 1 if a promise is broken, or a demo did not come to its end.
pub async fn run(arguments: DemoArguments) -> Result<u8> {
    arguments.check()?;
    let names = if arguments.name == DemoName::All { ALL.to_vec() } else { vec![arguments.name] };
    let mut endings = Vec::new();
    for name in &names {
        let demo = DemoArguments { name: *name, ..arguments.clone() };
        println!("── demo {} ──", name.text());
        let ending = match play(&demo).await {
            Ok(ending) => ending,
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => Ending::Failed(one_line(&error)),
        };
        print_ending(&ending);
        endings.push((*name, ending));
    }
    if names.len() > 1 {
        print_summary(&endings);
    }
    Ok(u8::from(endings.iter().any(|(_, ending)| !ending.is_good())))
}

async fn play(demo: &DemoArguments) -> Result<Ending> {
    match demo.name {
        DemoName::AzLoss => faults::az_loss(demo).await,
        DemoName::AsyncKill => faults::async_kill(demo).await,
        DemoName::LogStall => stall::log_stall(demo).await,
        DemoName::Switch => switch::switch(demo).await,
        DemoName::KillAll => faults::kill_all(demo).await,
        DemoName::Payments => payments::payments(demo).await,
        DemoName::Valkey | DemoName::All => valkey::contrast(demo).await,
    }
}

fn one_line(error: &Error) -> String {
    format!("{error:#}").lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn print_ending(ending: &Ending) {
    match ending {
        Ending::Shown { summary, broken } => println!("\n{summary}\n{}", verdict_line(broken)),
        Ending::Skipped(reason) => println!("{reason}\nverdict: skipped\n"),
        Ending::Failed(reason) => println!("\nverdict: FAILED, nothing is proven: {reason}\n"),
    }
}

fn print_summary(endings: &[(DemoName, Ending)]) {
    let mut table = Table::new(&["DEMO", "VERDICT", "FIGURES"]);
    for (name, ending) in endings {
        let (verdict, figures) = match ending {
            Ending::Shown { summary, broken } if broken.is_empty() => ("kept", summary),
            Ending::Shown { summary, .. } => ("BROKEN", summary),
            Ending::Skipped(reason) => ("skipped", reason),
            Ending::Failed(reason) => ("FAILED", reason),
        };
        table.row([name.text(), verdict.to_owned(), figures.clone()]);
    }
    print!("{table}");
}
