//! Runs each simulation in a process of its own: a seed is the same run only in a fresh process (see [`super`]), and a
//! simulation that hangs can be killed.

use std::io::{self, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::sim::{SimOptions, SimReport};

/// Real time that a seed may take. A seed takes seconds, or some twenty of them with five busy nodes; a machine shared
/// with other work is several times slower.
const SEED_MAX: Duration = Duration::from_secs(300);
/// Interval at which the process is polled for its end.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The program that runs one simulation and prints its report (`bin/simulate.rs`).
#[derive(Debug, Clone)]
pub struct Simulator {
    program: PathBuf,
}

impl Simulator {
    /// A simulator that runs this program.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Simulator {
        Simulator { program: program.into() }
    }

    /// The program `simulate` next to the running program, which may be `simulate` itself.
    ///
    /// # Errors
    /// The system does not report which program runs.
    pub fn beside() -> io::Result<Simulator> {
        Ok(Simulator::new(std::env::current_exe()?.with_file_name("simulate")))
    }

    /// Runs one simulation.
    ///
    /// # Errors
    /// The simulation did not end within five minutes, or ended without a report; the text is a finding.
    pub fn run(&self, options: &SimOptions) -> Result<SimReport, String> {
        let mut command = Command::new(&self.program);
        command.args(arguments(options)).arg("--report").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))?;
        let mut stdout = child.stdout.take().ok_or("its output cannot be read")?;
        let reader = std::thread::spawn(move || {
            let mut output = String::new();
            stdout.read_to_string(&mut output).map(|_| output)
        });
        let ended = end(&mut child, options.seed)?;
        let output = reader.join().map_err(|_| "its output cannot be read")?.map_err(|error| error.to_string())?;
        serde_json::from_str(&output).map_err(|error| {
            format!("seed {}: the simulation has ended without a report ({ended}): {error}", options.seed)
        })
    }
}

/// Waits for the process to end, and kills it when its time is over.
fn end(child: &mut Child, seed: u64) -> Result<std::process::ExitStatus, String> {
    let until = Instant::now() + SEED_MAX;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(POLL_INTERVAL),
            Ok(None) => {
                // If this fails, there is nothing left to try.
                let _ = child.kill().and_then(|()| child.wait());
                return Err(format!("seed {seed} hangs: it did not end within {SEED_MAX:?}"));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The program's arguments.
fn arguments(options: &SimOptions) -> Vec<String> {
    let kinds: Vec<String> = options.kinds.iter().map(|fault| format!("{fault:?}")).collect();
    let mut arguments = vec![
        format!("--seed={}", options.seed),
        format!("--faults-for-ms={}", options.faults_for.as_millis()),
        format!("--kinds={}", kinds.join(",")),
    ];
    arguments.extend(options.profile.map(|profile| format!("--profile={profile}")));
    arguments.extend(options.max_lag.map(|bound| format!("--max-lag-ms={}", bound.as_millis())));
    arguments.extend(options.keyed.map(|keyed| format!("--keyed={keyed}")));
    arguments.extend(options.plant.map(|plant| format!("--plant={}", plant.name())));
    arguments.extend(options.trace.as_ref().map(|file| format!("--trace={}", file.display())));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_no_report_is_a_finding() {
        let finding = |program: &str| Simulator::new(program).run(&SimOptions::new(7)).map(drop).unwrap_err();
        assert!(finding("/bin/true").contains("seed 7: the simulation has ended without a report"));
        assert!(finding("/no/such/program").starts_with("/no/such/program: "));
    }
}
