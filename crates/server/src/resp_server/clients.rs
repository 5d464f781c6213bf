//! The connections of one replica's front end, as CLIENT shows and ends them.
//!
//! Lives on the loop's thread. A connection's task owns its [`Client`]; the registry only lets others read it and ask
//! it to close.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_connection::ReplyMode;
use fastness_resp::Protocol;
use fastness_types::limits::{LOG_WAIT_MAX, UNREAD_MAX};
use tokio::sync::Notify;

use super::pubsub::subscriptions::{ChannelKind, Subscriptions};
use super::tracking::client::ClientTracking;
use crate::accounts::{Account, AccountBook, Accounts, DEFAULT_USER};
use crate::auth::Origin;
use crate::replication_out::Outlet;
use crate::replication_out::facts::ReplicaFacts;
use crate::settings::Answered;
use crate::traces::live::ConnectionTrace;

/// How CLIENT UNBLOCK ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unblock {
    /// As if its time were over.
    TimedOut,
    /// With an error.
    Error,
}

/// Whose a connection is.
#[derive(Default)]
struct AccountSession {
    account: RefCell<Option<Arc<Account>>>,
    is_authenticated: Cell<bool>,
    is_unrestricted: Cell<bool>,
    /// The node does not have the newest accounts.
    is_outdated: Cell<bool>,
    /// The generation of the accounts that `account` is from; 0: it is to be looked up.
    generation: Cell<u64>,
}

/// One connection.
pub struct Client {
    /// Unique in this process, rising.
    pub id: u64,
    /// The client's address.
    pub address: SocketAddr,
    /// The address it connected to.
    pub local_address: SocketAddr,
    /// Whether it came through the TLS front end.
    pub tls: bool,
    /// File descriptor, for CLIENT LIST.
    pub fd: i32,
    /// When it connected.
    pub connected_at: Instant,
    /// When it last sent something.
    pub active_at: Cell<Instant>,
    /// CLIENT SETNAME.
    pub name: RefCell<Vec<u8>>,
    /// CLIENT SETINFO LIB-NAME.
    pub library_name: RefCell<Vec<u8>>,
    /// CLIENT SETINFO LIB-VER.
    pub library_version: RefCell<Vec<u8>>,
    /// What it has shown beside a password.
    pub origin: Origin,
    /// See [`Client::authenticate`].
    session: AccountSession,
    /// A change of the cluster's settings or users that is under way for it.
    pub setting: RefCell<Option<Answered>>,
    /// A write of it that is traced.
    pub trace: ConnectionTrace,
    /// Its protocol version.
    pub protocol: Cell<Protocol>,
    /// See [`ReplyMode`].
    pub reply_mode: Cell<ReplyMode>,
    /// CLIENT NO-EVICT.
    pub no_evict: Cell<bool>,
    /// CLIENT NO-TOUCH.
    pub no_touch: Cell<bool>,
    /// CLIENT DURABILITY SYNC.
    pub durable: Cell<bool>,
    /// After CLIENT READS QUORUM.
    pub confirmed: Cell<bool>,
    /// CLIENT CAPA redirect. It is shown, and changes nothing for clients of a cluster, as in Valkey.
    pub redirect: Cell<bool>,
    /// READONLY.
    pub readonly: Cell<bool>,
    /// Commands queued by MULTI; -1 outside.
    pub queued: Cell<i64>,
    /// Keys watched.
    pub watched: Cell<usize>,
    /// The last command's full name.
    pub command: Cell<&'static str>,
    /// Commands run.
    pub commands: Cell<u64>,
    /// Bytes received.
    pub bytes_in: Cell<u64>,
    /// Bytes sent.
    pub bytes_out: Cell<u64>,
    /// Bytes received and not executed.
    pub query_bytes: Cell<usize>,
    /// Room in the buffer beside them, bytes.
    pub query_free: Cell<usize>,
    /// What commands queued by MULTI take, bytes.
    pub queued_bytes: Cell<usize>,
    /// Whether it has taken everything that was sent to it at some time, as clients do that read.
    pub has_read: Cell<bool>,
    /// Bytes of replies that have not left.
    pub unsent_bytes: Cell<usize>,
    /// What it takes in all, bytes: its share of what counts against `maxmemory`.
    pub memory: Cell<u64>,
    /// Whether its command waits: in WAIT or WAITAOF, for keys, or because clients are paused.
    pub blocked: Cell<bool>,
    /// Its subscriptions, and the messages of channels that wait for it.
    pub subscriptions: Subscriptions,
    /// CLIENT TRACKING.
    pub tracking: ClientTracking,
    /// Whether monitors have seen its command, which waits for keys.
    pub is_shown: Cell<bool>,
    /// After MONITOR; [`super::pubsub::monitors`] sets it.
    pub monitors: Cell<bool>,
    /// What REPLCONF has said of it.
    pub replica_facts: ReplicaFacts,
    /// After PSYNC or SYNC: it is that of a replica outside of the cluster.
    pub is_outbound: Cell<bool>,
    /// What PSYNC or SYNC has left for its task, until that takes it.
    pub outlet: RefCell<Option<Outlet>>,
    /// Since when its oldest held reply waits for the log.
    pub held_since: Cell<Option<Instant>>,
    /// Since when its command waits for the log.
    pub busy_since: Cell<Option<Instant>>,
    /// Since when it has read nothing, although no further command of it runs before it does.
    pub unread_since: Cell<Option<Instant>>,
    /// Since when it has been over the soft limit of unsent replies.
    pub over_soft_since: Cell<Option<Instant>>,
    /// Notified to check whether its command may continue.
    again: Notify,
    /// Of those that are blocked, in WAIT or WAITAOF or for keys: what CLIENT UNBLOCK can end.
    waits: Cell<bool>,
    unblock: Cell<Option<Unblock>>,
    unblock_notify: Notify,
    killed: Cell<bool>,
    called: Cell<bool>,
    wake: Notify,
}

/// Why a connection makes no progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// More than the soft limit of `client-output-buffer-limit` has not been read for longer than its seconds.
    OverSoftLimit,
    /// Nothing was read for [`UNREAD_MAX`], and nothing more may be kept.
    Unread,
    /// The log has not committed what it waits for within [`LOG_WAIT_MAX`].
    Log,
}

/// What the acceptor knows of a connection.
pub struct Arrival {
    /// Its number.
    pub id: u64,
    /// The client's address.
    pub address: SocketAddr,
    /// The address it connected to.
    pub local_address: SocketAddr,
    /// Whether it came through the TLS front end.
    pub tls: bool,
    /// File descriptor; -1: it has none.
    pub fd: i32,
    /// The user as which the front end that it comes through has authenticated it.
    pub account: Option<Arc<Account>>,
    /// What the client has shown beside a password.
    pub origin: Origin,
}

impl Client {
    fn new(arrival: &Arrival) -> Client {
        let now = Instant::now();
        Client {
            id: arrival.id,
            address: arrival.address,
            local_address: arrival.local_address,
            tls: arrival.tls,
            fd: arrival.fd,
            connected_at: now,
            active_at: Cell::new(now),
            name: RefCell::default(),
            library_name: RefCell::default(),
            library_version: RefCell::default(),
            origin: arrival.origin.clone(),
            session: AccountSession::default(),
            setting: RefCell::default(),
            trace: ConnectionTrace::default(),
            protocol: Cell::new(Protocol::Resp2),
            reply_mode: Cell::new(ReplyMode::On),
            no_evict: Cell::new(false),
            no_touch: Cell::new(false),
            durable: Cell::new(false),
            confirmed: Cell::new(false),
            redirect: Cell::new(false),
            readonly: Cell::new(false),
            queued: Cell::new(-1),
            watched: Cell::new(0),
            command: Cell::new("NULL"),
            commands: Cell::new(0),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            query_bytes: Cell::new(0),
            query_free: Cell::new(0),
            queued_bytes: Cell::new(0),
            has_read: Cell::new(false),
            unsent_bytes: Cell::new(0),
            memory: Cell::new(0),
            blocked: Cell::new(false),
            subscriptions: Subscriptions::default(),
            tracking: ClientTracking::default(),
            is_shown: Cell::new(false),
            monitors: Cell::new(false),
            replica_facts: ReplicaFacts::default(),
            is_outbound: Cell::new(false),
            outlet: RefCell::default(),
            held_since: Cell::new(None),
            busy_since: Cell::new(None),
            unread_since: Cell::new(None),
            over_soft_since: Cell::new(None),
            again: Notify::new(),
            waits: Cell::new(false),
            unblock: Cell::new(None),
            unblock_notify: Notify::new(),
            killed: Cell::new(false),
            called: Cell::new(false),
            wake: Notify::new(),
        }
    }

    /// It is this user's from now on.
    pub fn authenticate(&self, account: Arc<Account>) {
        self.session.is_authenticated.set(true);
        self.session.is_unrestricted.set(account.user.is_unrestricted());
        self.session.account.replace(Some(account));
        // The account may be an older one than the newest: it is looked up before it is used.
        self.session.generation.set(0);
    }

    /// Whether it is a user's: it has authenticated, or needed no password.
    #[inline]
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.session.is_authenticated.get()
    }

    /// Whether its user may do everything.
    #[inline]
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.session.is_unrestricted.get()
    }

    /// Whether nothing of it may run, because the node does not have the newest accounts, as of the last
    /// [`Client::renew`].
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.session.is_outdated.get()
    }

    /// Its user, as of the last [`Client::renew`]; `None`: it is not authenticated.
    #[must_use]
    pub fn account(&self) -> Option<Arc<Account>> {
        self.session.account.borrow().clone()
    }

    /// The name of its user, as CLIENT LIST shows it: before authentication it is `default`, as in Valkey.
    #[must_use]
    pub fn user_name(&self) -> String {
        self.session.account.borrow().as_ref().map_or_else(|| DEFAULT_USER.to_owned(), |account| account.name.clone())
    }

    /// Goes by the newest rules of its user. If there is no such user any more, nothing of it runs from here on, and it
    /// is closed. A change that it makes itself, of its own user maybe, is answered first.
    #[inline]
    pub fn renew(&self, book: &AccountBook) {
        let generation = book.generation();
        if self.session.generation.get() != generation && self.setting.borrow().is_none() {
            self.renew_from(&book.load(), book.is_outdated(), generation);
        }
    }

    #[cold]
    fn renew_from(&self, accounts: &Accounts, is_outdated: bool, generation: u64) {
        self.session.generation.set(generation);
        self.session.is_outdated.set(is_outdated);
        let Some(before) = self.account() else { return };
        match accounts.get(before.name.as_bytes()) {
            Some(account) => {
                self.session.is_unrestricted.set(account.user.is_unrestricted() && !is_outdated);
                self.session.account.replace(Some(account.clone()));
                if self.is_subscribed() && !self.may_stay_subscribed(account) {
                    self.kill();
                }
            }
            None => {
                self.session.is_authenticated.set(false);
                self.session.account.replace(None);
                self.kill();
            }
        }
    }

    /// Whether its user may still use all channels that it is subscribed to.
    #[cold]
    fn may_stay_subscribed(&self, account: &Account) -> bool {
        let may = |kind: ChannelKind, name: &[u8]| account.user.allows_channel(name, kind == ChannelKind::Pattern);
        account.user.is_unrestricted() || self.subscriptions.all(may)
    }

    /// Whether it has subscriptions: in RESP2 it may only use few commands then.
    #[inline]
    #[must_use]
    pub fn is_subscribed(&self) -> bool {
        self.subscriptions.total() > 0
    }

    /// A wait starts or has ended. One that starts has not been asked to end.
    pub fn set_waiting(&self, waits: bool) {
        self.blocked.set(waits);
        self.waits.set(waits);
        self.unblock.set(None);
    }

    /// Asks its wait to end; `false`: it waits for nothing that could.
    pub fn request_unblock(&self, how: Unblock) -> bool {
        // One that was asked already has stopped waiting, as far as others can tell.
        let asked = self.unblock.take();
        let waits = self.waits.get() && asked.is_none();
        self.unblock.set(if waits { Some(how) } else { asked });
        if waits {
            self.unblock_notify.notify_one();
        }
        waits
    }

    /// Resolves once its wait was asked to end.
    pub async fn unblock_requested(&self) -> Unblock {
        loop {
            if let Some(how) = self.unblock.take() {
                return how;
            }
            self.unblock_notify.notified().await;
        }
    }

    /// Resolves when it should check whether its command may continue.
    pub async fn recheck_requested(&self) {
        self.again.notified().await;
    }

    /// Asks the connection's task to close it.
    pub fn kill(&self) {
        self.killed.set(true);
        self.wake.notify_one();
    }

    /// Whether it was asked to close.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.killed.get()
    }

    /// Asks the connection's task to check for push messages, which it does not wait for if nothing says that it gets
    /// any.
    pub fn call(&self) {
        self.called.set(true);
        self.wake.notify_one();
    }

    /// Resolves once it was asked to close (`true`), or [called](Client::call).
    pub async fn killed_or_called(&self) -> bool {
        loop {
            let called = self.called.take();
            if called || self.killed.get() {
                return self.killed.get();
            }
            self.wake.notified().await;
        }
    }

    /// Back to how it began, as RESET does.
    pub fn reset(&self) {
        self.name.borrow_mut().clear();
        self.session.account.replace(None);
        self.session.is_authenticated.set(false);
        self.protocol.set(Protocol::Resp2);
        self.reply_mode.set(ReplyMode::On);
        self.no_evict.set(false);
        self.no_touch.set(false);
        self.durable.set(false);
        self.confirmed.set(false);
        self.readonly.set(false);
        self.queued.set(-1);
    }

    /// What its texts take, bytes.
    #[must_use]
    pub fn texts_bytes(&self) -> usize {
        [&self.name, &self.library_name, &self.library_version].iter().map(|text| text.borrow().capacity()).sum()
    }

    /// The letters of its flags, as CLIENT LIST shows them.
    #[must_use]
    pub fn flags(&self) -> String {
        let mut flags = String::new();
        let all = [
            (self.monitors.get(), 'O'),
            (self.is_outbound.get(), 'S'),
            (self.is_subscribed(), 'P'),
            (self.queued.get() >= 0, 'x'),
            (self.blocked.get(), 'b'),
            (self.tracking.is_on(), 't'),
            (self.tracking.is_broken(), 'R'),
            (self.tracking.is_bcast(), 'B'),
            (self.readonly.get(), 'r'),
            (self.no_evict.get(), 'e'),
            (self.no_touch.get(), 'T'),
            // Our own: Valkey has no such letters.
            (self.durable.get(), 'D'),
            (self.confirmed.get(), 'Q'),
            (self.killed.get(), 'A'),
        ];
        flags.extend(all.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag));
        if flags.is_empty() {
            flags.push('N');
        }
        flags
    }

    /// Its line in CLIENT LIST, without the line's end. `own`: it is the one that sent the command.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        let text = |bytes: &RefCell<Vec<u8>>| String::from_utf8_lossy(&bytes.borrow()).into_owned();
        let mut line = String::with_capacity(400);
        let _ = write!(
            line,
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} capa={} db=0 sub={} psub={} ssub={} multi={} \
             watch={} qbuf={} qbuf-free={} argv-mem=0 multi-mem={} rbs=0 rbp=0 obl={} oll=0 omem={} tot-mem={} \
             events=r cmd={} user={} redir={} resp={} lib-name={} lib-ver={} tot-net-in={} tot-net-out={} \
             tot-cmds={}",
            self.id,
            self.address,
            self.local_address,
            self.fd,
            text(&self.name),
            self.connected_at.elapsed().as_secs(),
            self.active_at.get().elapsed().as_secs(),
            self.flags(),
            if self.redirect.get() { "r" } else { "" },
            self.subscriptions.count(ChannelKind::Channel),
            self.subscriptions.count(ChannelKind::Pattern),
            self.subscriptions.count(ChannelKind::Shard),
            self.queued.get(),
            self.watched.get(),
            self.query_bytes.get(),
            self.query_free.get(),
            self.queued_bytes.get(),
            self.unsent_bytes.get(),
            self.unsent_bytes.get(),
            self.memory.get(),
            self.command.get(),
            self.user_name(),
            self.tracking.redirect().map_or(-1, |redirect| redirect as i64),
            self.protocol.get().number(),
            text(&self.library_name),
            text(&self.library_version),
            self.bytes_in.get(),
            self.bytes_out.get(),
            self.commands.get(),
        );
        line.into_bytes()
    }
}

/// All connections of one front end.
#[derive(Default)]
pub struct Clients {
    by_id: RefCell<BTreeMap<u64, Rc<Client>>>,
    /// The generation of the accounts that all of them go by.
    renewed: Cell<u64>,
    /// What those with CLIENT NO-EVICT took when [`Clients::evict`] was called last, bytes.
    no_evict_bytes: Cell<u64>,
}

impl Clients {
    /// Enters a new connection.
    #[must_use]
    pub fn enter(&self, arrival: &Arrival) -> Rc<Client> {
        let client = Rc::new(Client::new(arrival));
        if let Some(account) = &arrival.account {
            client.authenticate(account.clone());
        }
        self.by_id.borrow_mut().insert(client.id, client.clone());
        client
    }

    /// Has all of them go by the newest rules of their users: those of deleted users are closed.
    pub fn renew(&self, book: &AccountBook) {
        let generation = book.generation();
        if self.renewed.get() == generation {
            return;
        }
        let clients = self.by_id.borrow();
        clients.values().for_each(|client| client.renew(book));
        // One that makes a change itself is renewed after its answer.
        if clients.values().all(|client| client.setting.borrow().is_none()) {
            self.renewed.set(generation);
        }
    }

    /// Forgets a connection that was closed.
    pub fn leave(&self, client: &Client) {
        self.by_id.borrow_mut().remove(&client.id);
    }

    /// The one of this number.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Rc<Client>> {
        self.by_id.borrow().get(&id).cloned()
    }

    /// Those with higher numbers than `after`, at most `count_max`, and the last number if there may be more.
    #[must_use]
    pub fn some_after(&self, after: u64, count_max: usize) -> (Vec<Rc<Client>>, Option<u64>) {
        let clients = self.by_id.borrow();
        let some: Vec<_> = clients.range(after + 1..).take(count_max).map(|(_, client)| client.clone()).collect();
        let last = some.last().filter(|_| some.len() == count_max).map(|client| client.id);
        (some, last)
    }

    /// All, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Rc<Client>> {
        self.by_id.borrow().values().cloned().collect()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.borrow().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks connections without progress to close, after reporting each with the reason to `closes`. Called about once
    /// a second.
    ///
    /// A client that does not read is closed after `client-output-buffer-limit`'s seconds over its soft limit, or
    /// [`UNREAD_MAX`] after its last byte left if nothing of it is run before it reads; one whose reply or command
    /// waits for the log, after [`LOG_WAIT_MAX`].
    pub fn close_stuck(&self, soft_time: impl Fn(&Client) -> Duration, mut closes: impl FnMut(&Client, Stuck)) {
        let longer = |since: &Cell<Option<Instant>>, max: Duration| since.get().is_some_and(|at| at.elapsed() > max);
        for client in self.by_id.borrow().values().filter(|client| !client.is_killed()) {
            let stuck = if longer(&client.over_soft_since, soft_time(client)) {
                Stuck::OverSoftLimit
            } else if longer(&client.unread_since, UNREAD_MAX) {
                Stuck::Unread
            } else if longer(&client.held_since, LOG_WAIT_MAX) || longer(&client.busy_since, LOG_WAIT_MAX) {
                Stuck::Log
            } else {
                if client.unread_since.get().is_some() {
                    // There may be memory again.
                    client.again.notify_one();
                }
                continue;
            };
            closes(client, stuck);
            client.kill();
        }
    }

    /// Closes the largest ones, at most `count_max` of them, until the others take no more than `max` bytes together;
    /// returns those that it closes. Those with CLIENT NO-EVICT do not count.
    pub fn evict(&self, max: u64, count_max: usize) -> Vec<Rc<Client>> {
        let clients = self.by_id.borrow();
        let alive = clients.values().filter(|client| !client.is_killed());
        let (kept, mut evictable): (Vec<_>, Vec<_>) = alive.cloned().partition(|client| client.no_evict.get());
        self.no_evict_bytes.set(kept.iter().map(|client| client.memory.get()).sum());
        let mut total: u64 = evictable.iter().map(|client| client.memory.get()).sum();
        if total <= max {
            return Vec::new();
        }
        if evictable.len() > count_max {
            evictable.select_nth_unstable_by_key(count_max, |client| std::cmp::Reverse(client.memory.get()));
            evictable.truncate(count_max);
        }
        evictable.sort_unstable_by_key(|client| std::cmp::Reverse(client.memory.get()));
        let mut closed = Vec::new();
        for client in evictable {
            if total <= max {
                break;
            }
            total -= client.memory.get();
            client.kill();
            closed.push(client);
        }
        closed
    }

    /// What those with CLIENT NO-EVICT took when [`Clients::evict`] was called last, bytes.
    pub fn no_evict_bytes(&self) -> u64 {
        self.no_evict_bytes.get()
    }

    /// Closes those that have sent nothing for longer than `timeout` (zero: none), wait for nothing, have no
    /// subscriptions, do not monitor and are not replicas.
    pub fn close_idle(&self, timeout: Duration) {
        if timeout.is_zero() {
            return;
        }
        for client in self.by_id.borrow().values() {
            let is_sent = client.is_subscribed() || client.monitors.get() || client.is_outbound.get();
            let is_served = client.blocked.get() || is_sent;
            if !is_served && client.active_at.get().elapsed() > timeout {
                client.kill();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn enter(clients: &Clients, id: u64) -> Rc<Client> {
        let address = "127.0.0.1:1".parse().unwrap();
        clients.enter(&Arrival {
            id,
            address,
            local_address: address,
            tls: false,
            fd: 0,
            account: None,
            origin: Origin::default(),
        })
    }

    #[test]
    fn the_largest_connections_are_evicted() {
        let clients = Clients::default();
        let all: Vec<_> = (1..=4).map(|id| enter(&clients, id)).collect();
        for (client, bytes) in all.iter().zip([10, 400, 300, 5_000]) {
            client.memory.set(bytes);
        }
        all[3].no_evict.set(true);
        assert!(clients.evict(710, 9).is_empty());
        assert_eq!(clients.no_evict_bytes(), 5_000);
        let evicted = |max| clients.evict(max, 1).iter().map(|client| client.id).collect::<Vec<_>>();
        assert_eq!(evicted(709), [2]);
        assert_eq!(evicted(709), [0; 0], "it counts no more");
        assert_eq!((evicted(0), evicted(0), evicted(0)), (vec![3], vec![1], vec![]), "so many at a time");
        assert!(!all[3].is_killed());
    }

    /// Whatever keeps a connection from making progress ends it, and is reported once.
    #[test]
    fn connections_that_make_no_progress_are_closed() {
        let clients = Clients::default();
        let ago = |span: Duration| Some(Instant::now().checked_sub(span).unwrap());
        let soft = Duration::from_secs(3);
        let second = Duration::from_secs(1);
        let (unread, held, busy, soft_limit) =
            (enter(&clients, 1), enter(&clients, 2), enter(&clients, 3), enter(&clients, 4));
        let poll = |clients: &Clients| {
            let mut closed = Vec::new();
            clients.close_stuck(|_| soft, |client, stuck| closed.push((client.id, stuck)));
            closed
        };
        unread.unread_since.set(ago(UNREAD_MAX - second));
        held.held_since.set(ago(LOG_WAIT_MAX - second));
        busy.busy_since.set(ago(LOG_WAIT_MAX - second));
        soft_limit.over_soft_since.set(ago(soft - second));
        assert_eq!(poll(&clients), []);
        unread.unread_since.set(ago(UNREAD_MAX + second));
        held.held_since.set(ago(LOG_WAIT_MAX + second));
        busy.busy_since.set(ago(LOG_WAIT_MAX + second));
        soft_limit.over_soft_since.set(ago(soft + second));
        assert_eq!(poll(&clients), [(1, Stuck::Unread), (2, Stuck::Log), (3, Stuck::Log), (4, Stuck::OverSoftLimit)]);
        assert!(clients.all().iter().all(|client| client.is_killed()));
        assert_eq!(poll(&clients), []);
    }
}
