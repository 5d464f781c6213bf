//! `make plants`: hunts every planted bug with the simulation and prints which seed found which. Exit code 1: one was not found, or
//! the same seeds do not hold without a plant.

use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;
use fastness_testkit::plants::{self, Hunt};
use fastness_types::Plant;

/// Hunts planted bugs.
#[derive(Debug, Parser)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seeds per plant, at most.
    #[arg(long, default_value_t = 60)]
    seeds: u64,
    /// Plants by name, all if none is given.
    #[arg(long, value_delimiter = ',')]
    plants: Vec<String>,
    /// Simulations at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Do not run the seeds without a plant first.
    #[arg(long)]
    no_clean: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chosen: Result<Vec<Plant>, String> = match arguments.plants.as_slice() {
        [] => Ok(Plant::ALL.to_vec()),
        names => {
            let find = |name: &String| Plant::from_name(name).ok_or_else(|| format!("no plant is called {name:?}"));
            names.iter().map(find).collect()
        }
    };
    let chosen = match chosen {
        Ok(chosen) => chosen,
        Err(error) => {
            eprintln!(
                "{error}; there are {}",
                Plant::ALL.iter().map(|plant| plant.name()).collect::<Vec<_>>().join(", ")
            );
            return ExitCode::from(2);
        }
    };
    // What panics in a simulation is a finding and told as one.
    std::panic::set_hook(Box::new(|_| {}));
    let seeds = arguments.seed..arguments.seed + arguments.seeds;
    let missed = chosen.into_iter().filter(|plant| !tell(&plants::hunt(*plant, &seeds, arguments.jobs))).count();
    println!("{missed} not found");
    let holds = arguments.no_clean || is_clean(&seeds, arguments.jobs);
    if missed == 0 && holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a row; true if the plant was found.
fn tell(hunt: &Hunt) -> bool {
    let Hunt { plant, seeds, took, found } = hunt;
    let secs = took.as_secs_f64();
    match found {
        Some((seed, violation)) => {
            let violation: String = violation.lines().next().unwrap_or_default().chars().take(160).collect();
            println!("| {} | {} | seed {seed} | {seeds} | {secs:.0} s | {violation} |", plant.name(), plant.what());
        }
        None => println!("| {} | {} | NOT FOUND | {seeds} | {secs:.0} s | |", plant.name(), plant.what()),
    }
    found.is_some()
}

fn is_clean(seeds: &Range<u64>, jobs: usize) -> bool {
    let broken = plants::clean(seeds, jobs);
    match &broken {
        None => println!("seeds {seeds:?} hold without a plant"),
        Some((seed, violation)) => println!("BROKEN without a plant: seed {seed}: {violation}"),
    }
    broken.is_none()
}
