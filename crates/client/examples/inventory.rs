//! An inventory that never oversells: many buyers take items from a stock that is too small for all of them.
//!
//! A sale compares the stock with what the buyer has read, takes the items, and records the sale, at one moment. The
//! stock and the sales have one hash tag, hence one slot, which is what a transaction needs.
//!
//! Run it against a cluster, whose `cluster.json` is the first argument or in FASTNESS_CLUSTER:
//!
//! ```sh
//! fastness dev --dir dev --detach
//! cargo run -p fastness-client --example inventory -- dev/cluster.json
//! ```
//!
//! It prints what it does, checks every number, and exits with 0 only if all are right.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use fastness_client::{CONFLICT, Client, ClientError, Operation, Txn};
use futures::future::try_join_all;

/// Buyers that compete.
const BUYERS: usize = 16;
/// Items that each of them wants, one at a time.
const WANTED: usize = 5;
/// Items there are: fewer.
const STOCK: i64 = 50;

/// A number that is not the expected one.
#[derive(Debug, thiserror::Error)]
#[error("{what}: expected {expected}, got {found}")]
struct WrongCount {
    what: &'static str,
    expected: i64,
    found: i64,
}

fn expect(what: &'static str, found: i64, expected: i64) -> Result<(), WrongCount> {
    if found == expected { Ok(()) } else { Err(WrongCount { what, expected, found }) }
}

/// One item of the shop.
struct Item {
    client: Client,
    /// A string: how many are left.
    stock: String,
    /// A hash: the buyer of each sale.
    sales: String,
}

/// How an attempt to buy has ended.
enum Purchase {
    Sold,
    SoldOut,
}

impl Item {
    fn new(client: Client, run: u128) -> Item {
        Item { client, stock: format!("{{item:{run}}}:stock"), sales: format!("{{item:{run}}}:sales") }
    }

    async fn left(&self) -> Result<i64, Box<dyn Error>> {
        let stock = self.client.get(&self.stock).await?.unwrap_or_default();
        Ok(std::str::from_utf8(&stock)?.parse()?)
    }

    /// Sells one item. The name of the sale is unique: a sale whose outcome is unknown cannot happen twice, and whether
    /// it has happened can be looked up.
    async fn buy(&self, buyer: &str, sale: &str) -> Result<Purchase, Box<dyn Error>> {
        loop {
            let left = self.left().await?;
            if left == 0 {
                let recorded = self.client.hash_get(&self.sales, sale).await?.is_some();
                return Ok(if recorded { Purchase::Sold } else { Purchase::SoldOut });
            }
            let txn = Txn::new()
                .if_equal(&self.stock, left.to_string())
                .if_field_absent(&self.sales, sale)
                .then(Operation::increment(&self.stock, -1))
                .then(Operation::hash_set(&self.sales, [(sale, buyer.to_owned())]))
                .otherwise(Operation::hash_get(&self.sales, sale));
            match self.client.txn(txn).await {
                Ok(outcome) => {
                    let succeeded = outcome.succeeded;
                    let results = outcome.into_results()?;
                    // If there is no such sale yet, another buyer was faster.
                    if succeeded || results.iter().any(|recorded| recorded.as_value().is_some()) {
                        return Ok(Purchase::Sold);
                    }
                }
                // Nothing has happened.
                Err(ClientError::Unavailable { reason, .. }) if reason == CONFLICT => {}
                // The next round finds out.
                Err(error) if error.may_have_happened() => println!("  {sale}: {error}"),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Buys one item after the other; returns how many there were to get.
    async fn buy_all(&self, buyer: usize) -> Result<i64, Box<dyn Error>> {
        let mut bought = 0;
        for number in 0..WANTED {
            match self.buy(&format!("buyer-{buyer}"), &format!("sale-{buyer}-{number}")).await? {
                Purchase::Sold => bought += 1,
                Purchase::SoldOut => break,
            }
        }
        Ok(bought)
    }
}

async fn run(cluster: &str) -> Result<(), Box<dyn Error>> {
    let client = Client::builder().cluster_file(cluster).deadline(Duration::from_secs(30)).build()?;
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH)?;
    let item = Item::new(client.clone(), now.as_nanos());

    println!("{STOCK} items in stock; {BUYERS} buyers want {WANTED} each");
    client.set(&item.stock, STOCK.to_string()).await?;
    let bought = try_join_all((0..BUYERS).map(|buyer| item.buy_all(buyer))).await?;
    for (buyer, bought) in bought.iter().enumerate() {
        println!("  buyer-{buyer} got {bought}");
    }

    println!("checking the books");
    expect("items bought", bought.iter().sum(), STOCK)?;
    expect("items left", item.left().await?, 0)?;
    let sales = client.hash_get_all(&item.sales).await?;
    expect("sales recorded", i64::try_from(sales.len())?, STOCK)?;
    for (buyer, bought) in bought.iter().enumerate() {
        let name = format!("buyer-{buyer}");
        let recorded = sales.values().filter(|of| **of == name).count();
        expect("sales of a buyer", i64::try_from(recorded)?, *bought)?;
    }
    println!("  {} sales, none left, nothing sold twice", sales.len());

    println!("restocking, as much as was sold");
    let restocked = client.update(&item.stock, |_| Some(sales.len().to_string().into())).await?;
    expect("items restocked", i64::from(restocked.is_some()), 1)?;
    expect("items left", item.left().await?, STOCK)?;

    println!("removing what this run has stored");
    for result in client.batch([Operation::delete(&item.stock), Operation::delete(&item.sales)]).await {
        expect("keys removed", result?.as_count().map_or(-1, |count| i64::from(count == 1)), 1)?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(cluster) = std::env::args().nth(1).or_else(|| std::env::var("FASTNESS_CLUSTER").ok()) else {
        eprintln!("usage: inventory CLUSTER.JSON (or set FASTNESS_CLUSTER)");
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
