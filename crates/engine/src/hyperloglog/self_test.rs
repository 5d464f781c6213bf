//! PFSELFTEST.

use super::dense;
use super::estimate::Histogram;
use super::hash;
use super::layout::REGISTERS;
use super::value::HllBuf;
use super::view::Encoding;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::PackedLimits;
use crate::random::Random;
use fastness_resp::Args;

/// PFSELFTEST
pub const PFSELFTEST: Command =
    Command::data("pfselftest", "", "Tests registers and estimates of HyperLogLogs with random elements.", pfselftest);

/// How often all registers are written and read. Valkey: 1,000.
const CYCLES: usize = 4;
/// How many elements are added. Valkey: 10,000,000.
const ELEMENTS: u64 = 100_000;
/// Up to here a value is sparse in any case.
const SPARSE_ELEMENTS: u64 = 1_000;
/// The standard error of an estimate: 1.04 / √16384.
const RELATIVE_ERROR: f64 = 0.008_125;
/// Standard errors that are accepted.
const ERRORS_MAX: f64 = 6.0;

fn pfselftest(_: &mut Engine, _: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    test_registers(env.random)?;
    test_estimates(env.random)?;
    env.reply.ok();
    Ok(())
}

/// Writes random counts to all registers and reads them.
fn test_registers(random: &mut dyn Random) -> Result<(), CommandError> {
    let mut body = [0; dense::BYTES];
    for _ in 0..CYCLES {
        let expected: Vec<u8> = (0..REGISTERS).map(|_| random.next_u64() as u8 & dense::COUNT_MAX).collect();
        for (register, count) in expected.iter().enumerate() {
            dense::set(&mut body[dense::place(register)], register, *count);
        }
        for (register, count) in expected.iter().enumerate() {
            let found = dense::get(&body, register);
            if found != *count {
                let text = format!("ERR TESTFAILED Register {register} should be {count} but is {found}");
                return Err(CommandError::Text(text));
            }
        }
    }
    Ok(())
}

/// Adds elements to a sparse and a dense value, and compares both and the error of the estimate.
fn test_estimates(random: &mut dyn Random) -> Result<(), CommandError> {
    let limits = PackedLimits::default();
    let (mut sparse, mut dense) = (HllBuf::empty(limits), HllBuf::empty(limits));
    dense.make_dense()?;
    let seed = random.next_u64();
    let mut checkpoint = 1;
    for number in 1..=ELEMENTS {
        let hashed = hash::of(&(number ^ seed).to_le_bytes());
        sparse.raise(hashed)?;
        dense.raise(hashed)?;
        if number == checkpoint {
            check_estimates(number, &sparse, &dense)?;
            checkpoint *= 10;
        }
    }
    Ok(())
}

fn check_estimates(elements: u64, sparse: &HllBuf, dense: &HllBuf) -> Result<(), CommandError> {
    if elements < SPARSE_ELEMENTS && sparse.as_hll().encoding != Encoding::Sparse {
        return Err(CommandError::Fixed("ERR TESTFAILED sparse encoding not used"));
    }
    let [sparse, estimate] = [sparse, dense].map(|hll| Histogram::of(hll.as_hll()).map(|all| all.cardinality()));
    let (sparse, estimate) = (sparse?, estimate?);
    if sparse != estimate {
        return Err(CommandError::Fixed("ERR TESTFAILED dense/sparse disagree"));
    }
    let (error, error_max) = (estimate.abs_diff(elements), (RELATIVE_ERROR * ERRORS_MAX * elements as f64).ceil());
    if error as f64 > error_max {
        let text = format!("ERR TESTFAILED Too big error. card:{elements} abserr:{error}");
        return Err(CommandError::Text(text));
    }
    Ok(())
}
