//! `make plants`: hunts every planted bug with the simulation and writes the page that lists which seed found which
//! bug. Exit code 1: a bug was not found, or the same seeds do not hold without a plant.

use std::io::Write as _;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use fastness_testkit::plants::{self, Hunt};
use fastness_testkit::schedules::{self, EventOrder};
use fastness_testkit::sim::{SimOptions, Simulator};
use fastness_types::Plant;

/// Hunts planted bugs.
#[derive(Debug, Parser)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Maximum number of seeds per plant.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Names of plants; all if none is given.
    #[arg(long, value_delimiter = ',')]
    plants: Vec<String>,
    /// Number of concurrent simulations.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Skip the run of the seeds without a plant.
    #[arg(long)]
    no_clean: bool,
    /// Write the table, with its introduction, to this file. Rows of plants that were not chosen remain.
    #[arg(long)]
    page: Option<PathBuf>,
}

/// Introduction of the table.
const HEAD: &str = "\
# Planted bugs, and what finds them

Each row is a mistake that tests can switch on (`crates/types/src/plant.rs`): one in the path of a write that somebody has built before, or
might. `make plants` hunts each on the same seeds of the simulation, in order, with every fault and every invariant, and writes this page;
the same seeds must hold without a plant. \"Seeds\" is how many were begun until one found it. A plant that no seed finds is hunted on them
once more with only the faults that lead to its schedule (`crates/testkit/src/schedules.rs`); the row then names the schedule.

| plant | what is wrong | found by | seeds | after | what was seen |
|---|---|---|---|---|---|
";

/// Plants that are not in the table, and why.
const TAIL: &str = "
## Mistakes that are not planted

Each has a directed test; the simulation cannot show them, since something else guards the same thing, or has nothing to switch:

- A vote leaves although a promise was made since it was granted (28): on the one thread of a simulation nothing comes between.
  `votes_in_flight_do_not_break_a_promise`.
- A replica tells that it has installed a snapshot before it is stored (36): what its leader sends next is written behind it, in order, so it is on
  stable storage no earlier. `tests/SCHEDULES.md` names its tests.
- Only one half of a joint membership counts, or a deadline outlives its voters (30): the node that leaves is always a dead one here, and learners promise, too.
  `both_halves_of_a_joint_configuration_count`, `a_new_membership_cuts_what_was_earned_under_the_old_one`.
- No descriptors are set aside for log, peers and administration: a simulated node has none, and another listener.
  `maxclients_is_what_descriptors_allow` (server), `idle_connections_do_not_end_a_node_that_may_have_few_descriptors` (testkit).
- A removed leader steps down by itself (7), which is openraft's to do, and what has no option (15, 18).
";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chosen: Result<Vec<Plant>, String> = match arguments.plants.as_slice() {
        [] => Ok(Plant::ALL.to_vec()),
        names => {
            let find = |name: &String| Plant::from_name(name).ok_or_else(|| format!("unknown plant {name:?}"));
            names.iter().map(find).collect()
        }
    };
    let chosen = match chosen {
        Ok(chosen) => chosen,
        Err(error) => {
            eprintln!("{error}; known: {}", Plant::ALL.iter().map(|plant| plant.name()).collect::<Vec<_>>().join(", "));
            return ExitCode::from(2);
        }
    };
    let simulator = match Simulator::beside() {
        Ok(simulator) => simulator,
        Err(error) => {
            eprintln!("cannot find the simulation program: {error}");
            return ExitCode::from(2);
        }
    };
    let seeds = arguments.seed..arguments.seed + arguments.seeds;
    let before = arguments.page.as_ref().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let mut page = HEAD.to_owned();
    let mut missed = 0;
    for &plant in Plant::ALL {
        if chosen.contains(&plant) {
            let (hunt, schedule) = hunt(&simulator, plant, &seeds, arguments.jobs);
            let row = row(&hunt, schedule);
            println!("{row}");
            page.push_str(&format!("{row}\n"));
            missed += usize::from(hunt.found.is_none());
        } else if let Some(row) = before.lines().find(|line| line.starts_with(&first_cell(plant))) {
            page.push_str(&format!("{row}\n"));
        }
    }
    println!("{missed} not found");
    let clean = if arguments.no_clean { None } else { Some(clean(&simulator, &seeds, arguments.jobs)) };
    if let Some(clean) = &clean {
        println!("{}", clean.as_ref().unwrap_or_else(|broken| broken));
        page.push_str(&format!("\n{}\n", clean.as_ref().unwrap_or_else(|broken| broken)));
    }
    page.push_str(TAIL);
    if let Err(error) =
        arguments.page.iter().try_for_each(|path| std::fs::File::create(path)?.write_all(page.as_bytes()))
    {
        eprintln!("the page: {error}");
        return ExitCode::from(2);
    }
    if missed == 0 && clean.is_none_or(|clean| clean.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Hunts with every fault, and then with the faults of the plant's schedule, which is returned if it was needed.
fn hunt(simulator: &Simulator, plant: Plant, seeds: &Range<u64>, jobs: usize) -> (Hunt, Option<EventOrder>) {
    let hunt = plants::hunt(simulator, plant, &SimOptions::new(0), seeds, jobs);
    match schedules::of(plant) {
        Some(schedule) if hunt.found.is_none() => {
            (plants::hunt(simulator, plant, &schedule.options(), seeds, jobs), Some(schedule))
        }
        _ => (hunt, None),
    }
}

fn row(hunt: &Hunt, schedule: Option<EventOrder>) -> String {
    let Hunt { plant, seeds, took, found } = hunt;
    let secs = took.as_secs_f64();
    let (by, seen) = match found {
        Some((seed, violation)) => {
            let line = without_folders(violation.lines().next().unwrap_or_default()).replace('|', "\\|");
            let with =
                schedule.map_or_else(String::new, |schedule| format!(", faults of schedule {}", schedule.number));
            (format!("simulation, seed {seed}{with}"), line.chars().take(160).collect())
        }
        None => ("**nothing**".to_owned(), String::new()),
    };
    format!("{} {} | {by} | {seeds} | {secs:.0} s | {seen} |", first_cell(*plant), plant.description())
}

fn first_cell(plant: Plant) -> String {
    format!("| `{}` |", plant.name())
}

/// Replaces absolute paths, which differ between machines, by their last part.
fn without_folders(line: &str) -> String {
    let word =
        |word: &str| if word.starts_with('/') { word.rsplit('/').next().unwrap_or_default() } else { word }.to_owned();
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Runs the seeds without a plant; returns the result as text.
fn clean(simulator: &Simulator, seeds: &Range<u64>, jobs: usize) -> Result<String, String> {
    let (first, last) = (seeds.start, seeds.end - 1);
    match plants::clean(simulator, &SimOptions::new(0), seeds, jobs) {
        None => Ok(format!("Seeds {first} to {last} hold without a plant.")),
        Some((seed, violation)) => Err(format!("BROKEN without a plant: seed {seed}: {violation}")),
    }
}
