//! A lock with a fencing token: of several contenders at most one leads, and what a former leader still writes is
//! refused.
//!
//! The lock is a string that expires, set only if it is absent. That alone does not exclude two leaders: one that is
//! held up (by its scheduler, by a garbage collector) does not notice that its lock has expired. Therefore each term of
//! leadership has a token, a number that only grows, and each write compares it within a transaction: the cluster, not
//! the clock of a contender, decides whose write counts. The lock, the token and what they protect have one hash tag.
//!
//! Run it against a cluster, whose `cluster.json` is the first argument or in FASTNESS_CLUSTER:
//!
//! ```sh
//! fastness dev --dir dev --detach
//! cargo run -p fastness-client --example leader_lock -- dev/cluster.json
//! ```
//!
//! It prints what it does, checks every answer, and exits with 0 only if all are right.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fastness_client::{
    CallSettings, Client, ClientError, Operation, OperationResult, SetExpiry, SetIf, SetOptions, Txn,
};
use futures::future::try_join_all;

/// How long the lock is held without being renewed.
const LEASE: Duration = Duration::from_secs(2);
/// Terms that each of the contenders leads.
const TERMS: usize = 5;
/// Writes within a term.
const WRITES: usize = 4;
/// How long a contender waits for the lock at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer that is not the expected one.
#[derive(Debug, thiserror::Error)]
#[error("{what}: expected {expected}, got {found}")]
struct WrongAnswer {
    what: &'static str,
    expected: String,
    found: String,
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &'static str, found: &T, expected: &T) -> Result<(), WrongAnswer> {
    if found == expected {
        return Ok(());
    }
    Err(WrongAnswer { what, expected: format!("{expected:?}"), found: format!("{found:?}") })
}

/// A lock, and a journal that only its holder writes.
#[derive(Clone)]
struct LeaderLock {
    client: Client,
    /// A string that expires: who leads.
    holder: String,
    /// A string: the token of the latest term.
    token: String,
    /// A string: the lines that leaders have written.
    journal: String,
}

/// A term of leadership.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LockTerm {
    /// Unique for each attempt to acquire: whether one with an unknown outcome has happened can be looked up.
    holder: String,
    token: i64,
}

impl LeaderLock {
    fn new(client: Client, run: u128) -> LeaderLock {
        let key = |name: &str| format!("{{lock:{run}}}:{name}");
        LeaderLock { client, holder: key("holder"), token: key("token"), journal: key("journal") }
    }

    /// Tries to acquire the lock; absent if somebody holds it. The holder and the new token are set at one moment.
    async fn acquire(&self, holder: &str) -> Result<Option<LockTerm>, Box<dyn Error>> {
        let options = SetOptions {
            condition: Some(SetIf::Absent),
            expiry: Some(SetExpiry::After(LEASE)),
            ..SetOptions::default()
        };
        let txn = Txn::new()
            .if_absent(&self.holder)
            .then(Operation::set_with(&self.holder, holder.to_owned(), options))
            .then(Operation::increment(&self.token, 1));
        let results = match self.client.txn(txn).await {
            Ok(outcome) if outcome.succeeded => outcome.into_results()?,
            Ok(_) => return Ok(None),
            Err(error) if error.may_have_happened() => {
                println!("  {holder}: {error}; reading who holds the lock");
                return Ok(self.term_of(holder).await?);
            }
            Err(error) => return Err(error.into()),
        };
        let token = results.last().and_then(OperationResult::as_sum).unwrap_or_default();
        Ok(Some(LockTerm { holder: holder.to_owned(), token }))
    }

    /// The term of a holder, if it is the present one.
    async fn term_of(&self, holder: &str) -> Result<Option<LockTerm>, ClientError> {
        let txn = Txn::new().if_equal(&self.holder, holder.to_owned()).then(Operation::get(&self.token));
        let outcome = self.client.txn(txn).await?;
        if !outcome.succeeded {
            return Ok(None);
        }
        let results = outcome.into_results()?;
        let token = results.first().and_then(OperationResult::as_value);
        let token = token.and_then(|token| std::str::from_utf8(token).ok()?.parse().ok());
        Ok(token.map(|token| LockTerm { holder: holder.to_owned(), token }))
    }

    /// Holds the lock for longer; returns whether it was still held.
    async fn renew(&self, term: &LockTerm) -> Result<bool, ClientError> {
        let extend = Operation::expire(&self.holder, LEASE);
        let txn = Txn::new().if_equal(&self.holder, term.holder.clone()).then(extend);
        match self.client.txn(txn).await {
            Ok(outcome) => Ok(outcome.succeeded),
            // Renewing twice is harmless, and whether the lock is held is what the caller needs to know.
            Err(error) if error.may_have_happened() => Ok(self.term_of(&term.holder).await?.as_ref() == Some(term)),
            Err(error) => Err(error),
        }
    }

    /// Gives the lock back, unless it is another's by now.
    async fn release(&self, term: &LockTerm) -> Result<bool, ClientError> {
        let txn = Txn::new().if_equal(&self.holder, term.holder.clone()).then(Operation::delete(&self.holder));
        Ok(self.client.txn(txn).await?.succeeded)
    }

    /// Appends to the journal if this term is the latest: the fencing token, not the lock, protects it.
    async fn write(&self, term: &LockTerm, text: &str) -> Result<bool, ClientError> {
        let append = Operation::execute(["APPEND", &self.journal, &format!("{}:{text}\n", term.token)]);
        let txn = Txn::new().if_equal(&self.token, term.token.to_string()).then(append);
        let outcome = self.client.txn(txn).await?;
        let succeeded = outcome.succeeded;
        outcome.into_results()?;
        Ok(succeeded)
    }

    /// Who holds the lock.
    async fn leader(&self) -> Result<Option<String>, ClientError> {
        let holder = self.client.get(&self.holder).await?;
        Ok(holder.map(|holder| String::from_utf8_lossy(&holder).into_owned()))
    }

    async fn entries(&self) -> Result<Vec<String>, ClientError> {
        let journal = self.client.get(&self.journal).await?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&journal).lines().map(str::to_owned).collect())
    }

    async fn wait_for(&self, name: &str, attempt: &mut usize) -> Result<LockTerm, Box<dyn Error>> {
        let start = Instant::now();
        loop {
            *attempt += 1;
            if let Some(term) = self.acquire(&format!("{name}-{attempt}")).await? {
                return Ok(term);
            }
            expect("the lock within the patience", &(start.elapsed() < PATIENCE), &true)?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Leads several terms; returns how many writes were accepted.
    async fn contend(&self, name: &str) -> Result<usize, Box<dyn Error>> {
        let (mut attempt, mut written) = (0, 0);
        for _ in 0..TERMS {
            let term = self.wait_for(name, &mut attempt).await?;
            for number in 0..WRITES {
                // A contender that was held up too long stops by itself.
                if !self.renew(&term).await? || !self.write(&term, &format!("{name}-{number}")).await? {
                    break;
                }
                written += 1;
            }
            self.release(&term).await?;
        }
        Ok(written)
    }
}

async fn check_fencing(lock: &LeaderLock) -> Result<(), Box<dyn Error>> {
    println!("a leader is held up for longer than its lock lasts");
    let mut attempts = 0;
    let stale = lock.wait_for("slow", &mut attempts).await?;
    expect("another contender", &lock.acquire("other").await?, &None)?;
    expect("its first write", &lock.write(&stale, "in time").await?, &true)?;
    tokio::time::sleep(LEASE + Duration::from_millis(200)).await;
    let next = lock.wait_for("next", &mut attempts).await?;
    println!("  term {} has ended, {} leads term {}", stale.token, next.holder, next.token);
    expect("a larger token", &(next.token > stale.token), &true)?;
    expect("the late renewal", &lock.renew(&stale).await?, &false)?;
    expect("the late write", &lock.write(&stale, "too late").await?, &false)?;
    expect("the late release", &lock.release(&stale).await?, &false)?;
    // The leader may have been held up as well; its token counts in any case.
    expect("the leader's write", &lock.write(&next, "as the leader").await?, &true)?;
    println!("  what the former leader wrote afterwards was refused");
    lock.release(&next).await?;
    expect("nobody leads", &lock.leader().await?, &None)?;
    Ok(())
}

async fn run(cluster: &str) -> Result<(), Box<dyn Error>> {
    let client = Client::builder().cluster_file(cluster).deadline(Duration::from_secs(30)).build()?;
    // A lock that is granted must not be forgotten with an availability zone.
    let client = client.with_options(CallSettings { durability_sync: true, ..CallSettings::default() });
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH)?;
    let lock = LeaderLock::new(client, now.as_nanos());

    println!("two contenders lead {TERMS} terms each");
    let written = try_join_all(["red", "blue"].map(|name| lock.contend(name))).await?;
    println!("  red has written {} entries, blue {}", written[0], written[1]);
    let entries = lock.entries().await?;
    expect("entries of the journal", &entries.len(), &written.iter().sum())?;
    let mut terms: Vec<(i64, &str)> = Vec::new();
    for entry in &entries {
        let (token, writer) = entry.split_once(':').ok_or("no token")?;
        let name = writer.split('-').next().unwrap_or_default();
        terms.push((token.parse()?, name));
    }
    expect("terms in order", &terms.is_sorted_by_key(|(token, _)| *token), &true)?;
    terms.dedup();
    // Of each token there is one block, by one writer: while it was the latest, nobody else has written.
    expect("terms with one writer each", &terms.is_sorted_by(|one, next| one.0 < next.0), &true)?;
    println!("  {} terms, each with one writer, in the order of their tokens", terms.len());

    check_fencing(&lock).await?;
    let entries = lock.entries().await?;
    expect("entries too late", &entries.iter().filter(|entry| entry.contains("too late")).count(), &0)?;
    expect("the latest entry", &entries.last().is_some_and(|entry| entry.ends_with(":as the leader")), &true)?;

    println!("removing what this run has stored");
    let removed = lock.client.delete_many([&lock.holder, &lock.token, &lock.journal]).await?;
    expect("keys removed", &removed, &2)?;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(cluster) = std::env::args().nth(1).or_else(|| std::env::var("FASTNESS_CLUSTER").ok()) else {
        eprintln!("usage: leader_lock CLUSTER.JSON (or set FASTNESS_CLUSTER)");
        return ExitCode::FAILURE;
    };
    match run(&cluster).await {
        Ok(()) => {
            println!("ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}
