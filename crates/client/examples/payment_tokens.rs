//! A vault of payment tokens: a token stands for a card number, is created exactly once, and expires.
//!
//! Run it against a cluster, whose `cluster.json` is the first argument or in FASTNESS_CLUSTER:
//!
//! ```sh
//! fastness dev --dir dev --detach
//! cargo run -p fastness-client --example payment_tokens -- dev/cluster.json
//! ```
//!
//! It prints what it does, checks every answer, and exits with 0 only if all are right.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use fastness_client::{CallSettings, Client, ClientError, SetExpiry, SetIf, SetOptions};

/// Tokens to create.
const TOKENS: usize = 100;
/// How long a token is valid.
const VALID: Duration = Duration::from_secs(600);

/// An answer that is not the expected one.
#[derive(Debug, thiserror::Error)]
#[error("expected {expected}, got {found}")]
struct WrongAnswer {
    expected: String,
    found: String,
}

fn expect<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Result<(), WrongAnswer> {
    if found == expected {
        return Ok(());
    }
    Err(WrongAnswer { expected: format!("{expected:?}"), found: format!("{found:?}") })
}

/// The tokens of one run.
struct TokenVault {
    client: Client,
    /// Keeps the keys of runs apart.
    run: u64,
}

impl TokenVault {
    fn key(&self, token: &str) -> String {
        format!("token:{}:{token}", self.run)
    }

    /// Creates a token for a card; returns whether it is new. A token that exists keeps its card.
    ///
    /// A write whose outcome is unknown is not repeated blindly: what is stored says whether it has happened.
    async fn create(&self, token: &str, card: &str) -> Result<bool, ClientError> {
        let options = SetOptions {
            expiry: Some(SetExpiry::After(VALID)),
            condition: Some(SetIf::Absent),
            ..SetOptions::default()
        };
        match self.client.set_with(self.key(token), card.to_owned(), options).await {
            Ok(outcome) => Ok(outcome.applied),
            Err(error) if error.may_have_happened() => {
                println!("  {token}: {error}; reading what is stored");
                match self.card(token).await? {
                    // This program is the only one that creates the token for this card.
                    Some(stored) => Ok(stored == card),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The card that a token stands for; absent if there is no such token (any more).
    async fn card(&self, token: &str) -> Result<Option<String>, ClientError> {
        let card = self.client.get(self.key(token)).await?;
        Ok(card.map(|card| String::from_utf8_lossy(&card).into_owned()))
    }
}

async fn run(cluster: &str) -> Result<(), Box<dyn Error>> {
    let client = Client::builder().cluster_file(cluster).deadline(Duration::from_secs(30)).build()?;
    // A token that was handed out must survive the loss of an availability zone, whatever the cluster's mode is.
    let client = client.with_options(CallSettings { durability_sync: true, ..CallSettings::default() });
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH)?;
    let vault = TokenVault { client, run: u64::try_from(now.as_millis())? };
    let card = |i: usize| format!("4000-0000-0000-{i:04}");

    println!("creating {TOKENS} tokens, each on stable storage in two availability zones");
    for i in 0..TOKENS {
        expect(&vault.create(&format!("t{i}"), &card(i)).await?, &true)?;
    }

    println!("creating t7 again, for another card");
    expect(&vault.create("t7", "4000-9999-9999-9999").await?, &false)?;
    println!("  refused: the token exists");

    println!("looking up all tokens");
    for i in 0..TOKENS {
        expect(&vault.card(&format!("t{i}")).await?, &Some(card(i)))?;
    }
    println!("  t7 still stands for {}", card(7));
    expect(&vault.card("none").await?, &None)?;
    let stored = vault.client.get_with_ttl(vault.key("t7")).await?;
    let ttl = stored.and_then(|stored| stored.ttl);
    expect(&ttl.is_some_and(|ttl| !ttl.is_zero() && ttl <= VALID), &true)?;
    println!("  it expires in {} s", ttl.unwrap_or_default().as_secs());

    println!("revoking t7, and counting");
    expect(&vault.client.delete(vault.key("t7")).await?, &true)?;
    expect(&vault.card("t7").await?, &None)?;
    let counters = vault.key("counters");
    vault.client.hash_set(&counters, [("created", TOKENS.to_string()), ("revoked", "1".to_owned())]).await?;
    let counted = vault.client.hash_get(&counters, "created").await?;
    expect(&counted.as_deref(), &Some(TOKENS.to_string().as_bytes()))?;

    println!("removing what this run has stored");
    for i in (0..TOKENS).filter(|i| *i != 7) {
        expect(&vault.client.delete(vault.key(&format!("t{i}"))).await?, &true)?;
    }
    expect(&vault.client.delete(&counters).await?, &true)?;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(cluster) = std::env::args().nth(1).or_else(|| std::env::var("FASTNESS_CLUSTER").ok()) else {
        eprintln!("usage: payment_tokens CLUSTER.JSON (or set FASTNESS_CLUSTER)");
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
