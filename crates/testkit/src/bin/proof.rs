//! `make ledger`, and CI's checks of the ledger. The tools that run write the rows themselves.

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use fastness_testkit::proof::{self, Checkout};

/// The ledger of long runs.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Rewrite the page from the rows.
    Page,
    /// Check that rows and page have not been changed.
    Check,
    /// Print the row of a simulation to run again: of those that count, a different one for each commit.
    Pick,
}

fn main() -> Result<()> {
    let file = proof::file();
    let rows = proof::rows(&file)?;
    match Arguments::parse().command {
        Command::Page => std::fs::write(proof::page_of(&file), proof::page(&rows))?,
        Command::Check => {
            let page = std::fs::read_to_string(proof::page_of(&file))?;
            ensure!(page == proof::page(&rows), "the page does not match the rows: run `make ledger`");
            println!("{} rows, all unchanged", rows.len());
        }
        Command::Pick => {
            let picked = proof::pick(&rows, &Checkout::now()?.commit).context("no row of the simulation counts")?;
            println!("{}", serde_json::to_string(picked)?);
        }
    }
    Ok(())
}
