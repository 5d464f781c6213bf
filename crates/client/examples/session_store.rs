//! Web sessions: each has attributes, expires when it is not used for a while, and can be ended together with all other
//! sessions of its user.
//!
//! A session is a hash with a time to live, which every use extends. All keys of a user have one hash tag, hence one
//! slot: creating a session and recording it for its user is one transaction, and so is ending all of them.
//!
//! Run it against a cluster, whose `cluster.json` is the first argument or in FASTNESS_CLUSTER:
//!
//! ```sh
//! fastness dev --dir dev --detach
//! cargo run -p fastness-client --example session_store -- dev/cluster.json
//! ```
//!
//! It prints what it does, checks every answer, and exits with 0 only if all are right.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastness_client::{CallSettings, Client, ClientError, Operation, OperationResult, Txn};

/// How long a session of a real site would live without being used.
const IDLE_MAX: Duration = Duration::from_secs(1_800);
/// The same where this program waits for it.
const SHORT_IDLE_MAX: Duration = Duration::from_secs(3);
/// Devices on which one user is logged in.
const DEVICES: usize = 5;
/// How long expiry may take to be seen, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// The sessions of one run.
struct SessionStore {
    client: Client,
    /// Keeps the keys of runs apart.
    run: u128,
}

/// A user's keys: one hash tag for all of them.
struct UserKeys {
    tag: String,
}

impl UserKeys {
    /// A hash: the attributes of a session.
    fn session(&self, id: &str) -> String {
        format!("{}:session:{id}", self.tag)
    }

    /// A hash: the ids of the sessions that were created. Those that have expired stay in it until the user logs out
    /// everywhere.
    fn index(&self) -> String {
        format!("{}:sessions", self.tag)
    }

    /// A string: how often the index has changed.
    fn version(&self) -> String {
        format!("{}:version", self.tag)
    }
}

impl SessionStore {
    fn keys(&self, user: &str) -> UserKeys {
        UserKeys { tag: format!("{{user:{}:{user}}}", self.run) }
    }

    /// Creates a session. Its id is random and unique: doing it twice is harmless, so that an unknown outcome is
    /// followed by doing it again.
    async fn create(&self, user: &str, id: &str, device: &str, idle_max: Duration) -> Result<(), ClientError> {
        let keys = self.keys(user);
        loop {
            let txn = Txn::new()
                .then(Operation::hash_set(keys.session(id), [("user", user.to_owned()), ("device", device.to_owned())]))
                .then(Operation::expire(keys.session(id), idle_max))
                .then(Operation::hash_set(keys.index(), [(id, device.to_owned())]))
                .then(Operation::increment(keys.version(), 1));
            match self.client.txn(txn).await {
                Ok(outcome) => return outcome.into_results().map(drop),
                Err(error) if error.may_have_happened() => println!("  {id}: {error}; creating it again"),
                Err(error) => return Err(error),
            }
        }
    }

    /// Uses a session: it lives for this long from now on. Returns whether there is such a session.
    async fn touch(&self, user: &str, id: &str, idle_max: Duration) -> Result<bool, ClientError> {
        match self.client.expire(self.keys(user).session(id), idle_max).await {
            // The next use extends it again.
            Err(error) if error.may_have_happened() => Ok(self.attributes(user, id).await?.is_some()),
            touched => touched,
        }
    }

    /// Sets an attribute. A session that has expired meanwhile is not created by it, which a plain `hash_set` would do.
    async fn set(&self, user: &str, id: &str, attribute: &str, value: &str) -> Result<bool, ClientError> {
        let key = self.keys(user).session(id);
        let set = Operation::hash_set(&key, [(attribute, value.to_owned())]);
        let outcome = self.client.txn(Txn::new().if_exists(&key).then(set)).await?;
        let succeeded = outcome.succeeded;
        outcome.into_results()?;
        Ok(succeeded)
    }

    /// The attributes of a session; absent if there is none (any more).
    async fn attributes(&self, user: &str, id: &str) -> Result<Option<BTreeMap<Bytes, Bytes>>, ClientError> {
        let attributes = self.client.hash_get_all(self.keys(user).session(id)).await?;
        Ok(Some(attributes).filter(|attributes| !attributes.is_empty()))
    }

    /// Ends all sessions of a user at one moment; returns how many there were. A session that is created meanwhile
    /// changes the version, with which everything is read again: no session is overlooked.
    async fn log_out_everywhere(&self, user: &str) -> Result<u64, ClientError> {
        let keys = self.keys(user);
        loop {
            let Some(version) = self.client.get(keys.version()).await? else { return Ok(0) };
            let ids = self.client.hash_get_all(keys.index()).await?;
            let sessions = ids.keys().map(|id| keys.session(&String::from_utf8_lossy(id)));
            let txn = Txn::new()
                .if_equal(keys.version(), version)
                .then(Operation::delete_many(sessions.chain([keys.version()])))
                .then(Operation::delete(keys.index()));
            let outcome = self.client.txn(txn).await?;
            if outcome.succeeded {
                let results = outcome.into_results()?;
                // Without the version.
                return Ok(results.first().and_then(OperationResult::as_count).unwrap_or_default().saturating_sub(1));
            }
        }
    }
}

/// A session that is used lives longer than its time to live; one that is not used ends.
async fn check_sliding_expiry(store: &SessionStore) -> Result<(), Box<dyn Error>> {
    println!("using a session that expires after {} s without use", SHORT_IDLE_MAX.as_secs());
    store.create("bob", "b0", "tablet", SHORT_IDLE_MAX).await?;
    let start = Instant::now();
    while start.elapsed() < SHORT_IDLE_MAX + Duration::from_millis(500) {
        expect("touched", &store.touch("bob", "b0", SHORT_IDLE_MAX).await?, &true)?;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    println!("  alive after {:.1} s of use", start.elapsed().as_secs_f64());
    let idle = Instant::now();
    while store.attributes("bob", "b0").await?.is_some() {
        expect("within the patience", &(idle.elapsed() < PATIENCE), &true)?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("  gone after {:.1} s without use", idle.elapsed().as_secs_f64());
    expect("touched after its end", &store.touch("bob", "b0", IDLE_MAX).await?, &false)?;
    expect("set after its end", &store.set("bob", "b0", "cart", "7").await?, &false)?;
    expect("revived", &store.attributes("bob", "b0").await?.is_some(), &false)?;
    Ok(())
}

async fn run(cluster: &str) -> Result<(), Box<dyn Error>> {
    let client = Client::builder().cluster_file(cluster).deadline(Duration::from_secs(30)).build()?;
    // A user who has logged out must not be logged in again by the loss of an availability zone.
    let client = client.with_options(CallSettings { durability_sync: true, ..CallSettings::default() });
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH)?;
    let store = SessionStore { client, run: now.as_nanos() };

    println!("logging ada in on {DEVICES} devices");
    for device in 0..DEVICES {
        store.create("ada", &format!("a{device}"), &format!("device-{device}"), IDLE_MAX).await?;
    }
    expect("set", &store.set("ada", "a3", "cart", "7 items").await?, &true)?;
    let attributes = store.attributes("ada", "a3").await?.unwrap_or_default();
    let attributes: Vec<(&[u8], &[u8])> = attributes.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let expected: [(&[u8], &[u8]); 3] = [(b"cart", b"7 items"), (b"device", b"device-3"), (b"user", b"ada")];
    expect("attributes", &attributes, &expected.to_vec())?;
    println!("  a3 has {} attributes", attributes.len());

    check_sliding_expiry(&store).await?;

    println!("logging ada out everywhere");
    expect("sessions ended", &store.log_out_everywhere("ada").await?, &(DEVICES as u64))?;
    for device in 0..DEVICES {
        let id = format!("a{device}");
        expect("left over", &store.attributes("ada", &id).await?, &None)?;
        expect("touched after logging out", &store.touch("ada", &id, IDLE_MAX).await?, &false)?;
    }
    expect("sessions ended again", &store.log_out_everywhere("ada").await?, &0)?;
    println!("  none is left");

    println!("removing what this run has stored");
    expect("bob's sessions", &store.log_out_everywhere("bob").await?, &0)?;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(cluster) = std::env::args().nth(1).or_else(|| std::env::var("FASTNESS_CLUSTER").ok()) else {
        eprintln!("usage: session_store CLUSTER.JSON (or set FASTNESS_CLUSTER)");
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
