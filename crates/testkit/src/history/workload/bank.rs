//! Banks: accounts that share a slot, half of them strings, half of them fields of one hash. Transfers are transactions
//! or scripts, totals are transactions.

use async_trait::async_trait;
use fastness_resp::Value;
use rand::Rng;

use super::{SEARCHED, Workload, in_slot};
use crate::history::actor::{Actor, Attempt, shape};
use crate::history::check::Findings;
use crate::history::check::bank::{self, ACCOUNTS, Bank, BankOp};
use crate::history::check::linear::Checked;
use crate::history::record::{Keys, Ticket};
use crate::history::run::Run;

/// Pays and is paid: an account is a key, or a field of a key.
const SCRIPT: &str = "
local function add(key, field, amount)
  if field == '' then return redis.call('INCRBY', key, amount) end
  return redis.call('HINCRBY', key, field, amount)
end
return {add(KEYS[1], ARGV[1], -ARGV[3]), add(KEYS[2], ARGV[2], ARGV[3])}";

/// The first accounts are strings.
const STRINGS: usize = ACCOUNTS / 2;

/// See the module.
pub(super) struct Banks {
    keys: Keys<BankOp>,
}

impl Banks {
    pub(super) fn new(name: &str) -> Banks {
        Banks { keys: Keys::new(name.to_owned(), SEARCHED) }
    }

    async fn read(&self, actor: &mut Actor, at: &Ticket) -> Result<bool, String> {
        let strings: Vec<String> = (0..STRINGS).map(|account| in_slot(&at.key, account)).collect();
        let (hash, fields) = (in_slot(&at.key, "rest"), (STRINGS..ACCOUNTS).map(|account| account.to_string()));
        let fields: Vec<String> = fields.collect();
        let mget: Vec<&[u8]> = [&b"MGET"[..]].into_iter().chain(strings.iter().map(String::as_bytes)).collect();
        let hmget: Vec<&[u8]> =
            [&b"HMGET"[..], hash.as_bytes()].into_iter().chain(fields.iter().map(String::as_bytes)).collect();
        let attempt = actor.read_together(&hash, &[&mget, &hmget], balances).await?;
        if let Some(balances) = attempt.result.clone() {
            self.keys.note(at, actor.op(&attempt, BankOp::Read(balances)), attempt.outcome);
        }
        Ok(attempt.is_done())
    }

    async fn transfer(&self, actor: &mut Actor, at: &Ticket) -> bool {
        let from = actor.rng.random_range(0..ACCOUNTS);
        let to = (from + actor.rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        let amount = actor.rng.random_range(1..100);
        let op = |balances| BankOp::Transfer { from, to, amount, balances };
        let both = |replies: &[Value]| match replies {
            [from, to] => Some((shape::integer(from)?, shape::integer(to)?)),
            _ => None,
        };
        if actor.rng.random_bool(0.5) {
            let attempt = run_script(actor, &at.key, (from, to, amount), both).await;
            self.keys.note(at, actor.op(&attempt, op(attempt.result)), attempt.outcome);
            return attempt.is_done();
        }
        let (pay, paid) = (add(&at.key, from, -amount), add(&at.key, to, amount));
        let (pay, paid): (Vec<&[u8]>, Vec<&[u8]>) =
            (pay.iter().map(String::as_bytes).collect(), paid.iter().map(String::as_bytes).collect());
        let attempt = actor.transact(&in_slot(&at.key, "rest"), &[&pay, &paid], both).await;
        self.keys.note(at, actor.op(&attempt, op(attempt.result)), attempt.outcome);
        attempt.is_done()
    }
}

/// Transfers by a script.
async fn run_script<R>(
    actor: &mut Actor,
    key: &str,
    (from, to, amount): (usize, usize, i64),
    shape: impl Fn(&[Value]) -> Option<R>,
) -> Attempt<R> {
    let place = |account: usize| match account < STRINGS {
        true => (in_slot(key, account), String::new()),
        false => (in_slot(key, "rest"), account.to_string()),
    };
    let ((paying, from), (paid, to), amount) = (place(from), place(to), amount.to_string());
    let words = ["EVAL", SCRIPT, "2", &paying, &paid, &from, &to, &amount].map(str::as_bytes);
    let balances = |reply: &Value| match reply {
        Value::Array(balances) => shape(balances),
        _ => None,
    };
    actor.write(&words, balances).await
}

/// The command that changes one account.
fn add(key: &str, account: usize, amount: i64) -> Vec<String> {
    if account < STRINGS {
        vec!["INCRBY".into(), in_slot(key, account), amount.to_string()]
    } else {
        vec!["HINCRBY".into(), in_slot(key, "rest"), account.to_string(), amount.to_string()]
    }
}

fn balances(replies: &[Value]) -> Option<Vec<i64>> {
    let [strings, fields] = replies else { return None };
    let mut balances = shape::sums(strings)?;
    balances.extend(shape::sums(fields)?);
    (balances.len() == ACCOUNTS).then_some(balances)
}

#[async_trait]
impl Workload for Banks {
    fn name(&self) -> &'static str {
        Bank::WORKLOAD
    }

    async fn step(&self, _: u32, actor: &mut Actor) -> bool {
        let at = self.keys.take();
        match actor.rng.random_range(0..10) {
            0..4 => self.read(actor, &at).await.unwrap_or(false),
            _ => self.transfer(actor, &at).await,
        }
    }

    async fn read_back(&self, reader: &mut Actor) -> Result<(), String> {
        for at in self.keys.tickets() {
            self.read(reader, &at).await?;
        }
        Ok(())
    }

    fn check(&self, _: &Run, findings: &mut Findings) {
        self.keys.each(|history| bank::check(history, findings));
    }
}
