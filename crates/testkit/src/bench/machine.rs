//! Figures of the machine itself, with which the latency of a commit is compared.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

/// Processor, cores and kernel in one line.
///
/// # Errors
/// If the kernel does not report them.
pub fn describe() -> Result<String> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("unknown");
    let cores = std::thread::available_parallelism()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    Ok(format!(
        "{}, {cores} cores, Linux {}, load average {}",
        model.trim_start_matches([' ', '\t', ':']),
        kernel.trim(),
        load.join(" ")
    ))
}

fn median_us(mut spans: Vec<u64>) -> Result<u64> {
    spans.sort_unstable();
    spans.get(spans.len() / 2).copied().context("nothing was measured")
}

/// Median time of appending 128 bytes to a file in `dir` and syncing its data, in microseconds.
///
/// # Errors
/// If the file cannot be written.
pub fn fdatasync_us(dir: &Path) -> Result<u64> {
    let path = dir.join(format!("fastness-fdatasync-{}", std::process::id()));
    let mut file = File::create(&path)?;
    let spans = (0..1000)
        .map(|_| {
            let started = Instant::now();
            file.write_all(&[b'x'; 128])?;
            file.sync_data()?;
            Ok(started.elapsed().as_micros() as u64)
        })
        .collect::<Result<Vec<u64>>>();
    std::fs::remove_file(&path)?;
    median_us(spans?)
}

/// Median round trip of 64 bytes between two threads over loopback TCP, in microseconds.
///
/// # Errors
/// If loopback cannot be used.
pub fn loopback_round_trip_us() -> Result<u64> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buffer = [0; 64];
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut buffer = [0; 64];
    let spans = (0..2000)
        .map(|_| {
            let started = Instant::now();
            stream.write_all(&buffer)?;
            stream.read_exact(&mut buffer)?;
            Ok(started.elapsed().as_micros() as u64)
        })
        .collect::<Result<Vec<u64>>>();
    drop(stream);
    echo.join().expect("the echo thread does not panic")?;
    median_us(spans?)
}
