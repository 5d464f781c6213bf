//! Who is subscribed to what, on one replica.
//!
//! Subscriptions have rising numbers. A message goes to those that are older than it, in their order, and a delivery
//! that was interrupted continues after the last number that it has reached: whoever subscribes or unsubscribes
//! meanwhile changes nothing for the others.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;
use std::time::Instant;

use fastness_engine::glob;
use fastness_types::limits::{CHANNEL_PATTERNS_MAX, SUBSCRIPTIONS_MAX, SUBSCRIPTIONS_PER_CLIENT_MAX};
use smallvec::SmallVec;

use super::subscriptions::ChannelKind;
use crate::publications::message::Publication;
use crate::resp_server::clients::Client;

/// The subscribers of one channel or pattern, by the number of the subscription.
type Subscribers = BTreeMap<u64, Rc<Client>>;
/// Names, with their subscribers.
type Names = BTreeMap<Rc<[u8]>, Subscribers>;

/// After so many comparisons with patterns the clock is read.
const COMPARED_AT_ONCE: usize = 16;
/// After a comparison that may take more steps than this, the clock is read, too.
const STEPS_AT_ONCE: usize = 64 * 1024;

/// A bound of subscriptions is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooManySubscriptions {
    /// [`SUBSCRIPTIONS_PER_CLIENT_MAX`].
    #[error("ERR too many subscriptions of this connection")]
    OfClient,
    /// [`SUBSCRIPTIONS_MAX`].
    #[error("ERR too many subscriptions on this node")]
    OfNode,
    /// [`CHANNEL_PATTERNS_MAX`].
    #[error("ERR too many patterns of channels on this node")]
    Patterns,
}

/// Who receives a message, as far as that is known.
#[derive(Debug)]
pub struct Receivers {
    /// The channel, and the patterns that match it, in the order of delivery.
    pub names: SmallVec<[(ChannelKind, Rc<[u8]>); 2]>,
    /// The patterns after this one have not been compared; `None`: all have.
    pub compared_to: Option<Rc<[u8]>>,
    /// Only subscriptions with lower numbers receive it.
    pub before: u64,
    /// How many receive it under `names`.
    pub count: usize,
}

/// See the module.
#[derive(Default)]
pub struct Channels {
    /// By kind.
    names: [RefCell<Names>; 3],
    /// The number of the newest subscription.
    newest: Cell<u64>,
    /// Subscriptions of all kinds.
    count: Cell<usize>,
}

impl Channels {
    /// Whether a client may add so many subscriptions, of which so many are to names that nobody is subscribed to. An
    /// error changes nothing.
    ///
    /// # Errors
    /// Which bound is reached.
    pub fn check_room(
        &self,
        client: &Client,
        kind: ChannelKind,
        (added, new_names): (usize, usize),
    ) -> Result<(), TooManySubscriptions> {
        if client.subscriptions.total() + added > SUBSCRIPTIONS_PER_CLIENT_MAX {
            return Err(TooManySubscriptions::OfClient);
        }
        if self.count.get() + added > SUBSCRIPTIONS_MAX {
            return Err(TooManySubscriptions::OfNode);
        }
        if kind == ChannelKind::Pattern && self.names_count(kind) + new_names > CHANNEL_PATTERNS_MAX {
            return Err(TooManySubscriptions::Patterns);
        }
        Ok(())
    }

    /// Subscribes a client; one that is subscribed already stays so.
    pub fn subscribe(&self, client: &Rc<Client>, kind: ChannelKind, name: &[u8]) {
        if client.subscriptions.has(kind, name) {
            return;
        }
        let number = self.newest.get() + 1;
        self.newest.set(number);
        self.count.set(self.count.get() + 1);
        let mut names = self.names[kind as usize].borrow_mut();
        let name = match names.get_key_value(name) {
            Some((known, _)) => known.clone(),
            None => Rc::from(name),
        };
        names.entry(name.clone()).or_default().insert(number, client.clone());
        client.subscriptions.add(kind, name, number);
    }

    /// Ends a subscription, if the client has it.
    pub fn unsubscribe(&self, client: &Client, kind: ChannelKind, name: &[u8]) {
        let Some(number) = client.subscriptions.remove(kind, name) else { return };
        self.count.set(self.count.get() - 1);
        let mut names = self.names[kind as usize].borrow_mut();
        let Some(subscribers) = names.get_mut(name) else { return };
        subscribers.remove(&number);
        if subscribers.is_empty() {
            names.remove(name);
        }
    }

    /// Ends all subscriptions of a client, without a word to it.
    pub fn leave(&self, client: &Client) {
        if client.subscriptions.total() == 0 {
            return;
        }
        for kind in ChannelKind::ALL {
            for name in client.subscriptions.names(kind) {
                self.unsubscribe(client, kind, &name);
            }
        }
    }

    /// How many channels or patterns have subscribers.
    #[must_use]
    pub fn names_count(&self, kind: ChannelKind) -> usize {
        self.names[kind as usize].borrow().len()
    }

    /// How many subscribers one has.
    #[must_use]
    pub fn subscribers(&self, kind: ChannelKind, name: &[u8]) -> usize {
        self.names[kind as usize].borrow().get(name).map_or(0, BTreeMap::len)
    }

    /// Passes the channels that have subscribers and match a pattern to `each`.
    pub fn each(&self, kind: ChannelKind, pattern: Option<&[u8]>, mut each: impl FnMut(&[u8])) {
        let names = self.names[kind as usize].borrow();
        let matching = names.keys().filter(|name| pattern.is_none_or(|pattern| glob::matches(pattern, name)));
        matching.for_each(|name| each(name));
    }

    /// Some subscribers of channels of the shard, with one channel of each.
    #[must_use]
    pub fn of_shard(&self, count_max: usize) -> Vec<(Rc<Client>, Rc<[u8]>)> {
        let names = self.names[ChannelKind::Shard as usize].borrow();
        let all = names
            .iter()
            .flat_map(|(name, subscribers)| subscribers.values().map(move |one| (one.clone(), name.clone())));
        all.take(count_max).collect()
    }

    /// Who receives a message now. Patterns are compared until `until`.
    #[must_use]
    pub fn receivers(&self, message: &Publication, until: Instant) -> Receivers {
        let kind = if message.shard.is_some() { ChannelKind::Shard } else { ChannelKind::Channel };
        let mut receivers =
            Receivers { names: SmallVec::new(), compared_to: None, before: self.newest.get() + 1, count: 0 };
        if let Some((name, subscribers)) = self.names[kind as usize].borrow().get_key_value(&message.channel[..]) {
            receivers.count = subscribers.len();
            receivers.names.push((kind, name.clone()));
        }
        if kind == ChannelKind::Channel && self.names_count(ChannelKind::Pattern) > 0 {
            self.compare(message, None, until, &mut receivers);
        }
        receivers
    }

    /// Compares a message with the patterns after `from`, until `until`; at least with some.
    pub(super) fn compare(
        &self,
        message: &Publication,
        from: Option<&[u8]>,
        until: Instant,
        receivers: &mut Receivers,
    ) {
        let patterns = self.names[ChannelKind::Pattern as usize].borrow();
        let start = from.map_or(Bound::Unbounded, Bound::Excluded);
        receivers.compared_to = None;
        for (i, (pattern, subscribers)) in patterns.range::<[u8], _>((start, Bound::Unbounded)).enumerate() {
            if glob::matches(pattern, &message.channel) {
                receivers.count += subscribers.len();
                receivers.names.push((ChannelKind::Pattern, pattern.clone()));
            }
            let is_long = pattern.len() * message.channel.len() > STEPS_AT_ONCE;
            if (is_long || i % COMPARED_AT_ONCE == COMPARED_AT_ONCE - 1) && Instant::now() >= until {
                receivers.compared_to = Some(pattern.clone());
                return;
            }
        }
    }

    /// Passes subscribers with numbers above `after` and below `before` to `each`, at most `count_max`; returns how
    /// many, and the last number if there may be more.
    pub(super) fn visit(
        &self,
        (kind, name): (ChannelKind, &[u8]),
        (after, before): (u64, u64),
        count_max: usize,
        mut each: impl FnMut(&Client),
    ) -> (usize, Option<u64>) {
        let names = self.names[kind as usize].borrow();
        let Some(subscribers) = names.get(name) else { return (0, None) };
        if after + 1 >= before {
            return (0, None);
        }
        let (mut count, mut last) = (0, after);
        for (number, client) in subscribers.range(after + 1..before).take(count_max) {
            each(client);
            (count, last) = (count + 1, *number);
        }
        (count, (count == count_max).then_some(last))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::auth::Origin;
    use crate::resp_server::clients::{Arrival, Clients};

    fn clients<const COUNT: usize>() -> [Rc<Client>; COUNT] {
        let (clients, address) = (Clients::default(), "127.0.0.1:1".parse().unwrap());
        std::array::from_fn(|i| {
            clients.enter(&Arrival {
                id: i as u64 + 1,
                address,
                local_address: address,
                tls: false,
                fd: 0,
                account: None,
                origin: Origin::default(),
            })
        })
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn message(channel: &'static str) -> Publication {
        Publication { channel: channel.into(), payload: "m".into(), shard: None }
    }

    /// Those who receive a message, in order.
    fn receivers(channels: &Channels, channel: &'static str) -> Vec<u64> {
        let mut ids = Vec::new();
        let receivers = channels.receivers(&message(channel), soon());
        for (kind, name) in &receivers.names {
            channels.visit((*kind, name), (0, receivers.before), usize::MAX, |client| ids.push(client.id));
        }
        assert_eq!(ids.len(), receivers.count);
        ids
    }

    #[test]
    fn a_message_reaches_channel_and_patterns() {
        let (channels, [a, b, c]) = (Channels::default(), clients());
        channels.subscribe(&a, ChannelKind::Channel, b"news");
        channels.subscribe(&a, ChannelKind::Channel, b"news");
        channels.subscribe(&b, ChannelKind::Pattern, b"n*");
        channels.subscribe(&a, ChannelKind::Pattern, b"*s");
        channels.subscribe(&c, ChannelKind::Shard, b"news");
        assert_eq!(receivers(&channels, "news"), [1, 1, 2]);
        assert_eq!(receivers(&channels, "no"), [2]);
        assert_eq!((a.subscriptions.shown(ChannelKind::Channel), c.subscriptions.shown(ChannelKind::Shard)), (2, 1));
        channels.unsubscribe(&a, ChannelKind::Channel, b"news");
        assert_eq!(receivers(&channels, "news"), [1, 2]);
        let sharded = Publication { shard: Some(fastness_types::ShardId(1)), ..message("news") };
        assert_eq!(channels.receivers(&sharded, soon()).count, 1);
        [a, b, c].iter().for_each(|client| channels.leave(client));
        assert_eq!((channels.count.get(), channels.names_count(ChannelKind::Pattern)), (0, 0));
    }

    #[test]
    fn a_delivery_continues_where_it_was_and_skips_newcomers() {
        let (channels, [a, b, c, d]) = (Channels::default(), clients());
        for client in [&a, &b, &c] {
            channels.subscribe(client, ChannelKind::Channel, b"x");
        }
        let found = channels.receivers(&message("x"), soon());
        let mut seen = Vec::new();
        let name = (ChannelKind::Channel, &b"x"[..]);
        let (_, last) = channels.visit(name, (0, found.before), 1, |client| seen.push(client.id));
        channels.unsubscribe(&b, ChannelKind::Channel, b"x");
        channels.subscribe(&d, ChannelKind::Channel, b"x");
        let (_, end) = channels.visit(name, (last.unwrap(), found.before), 5, |client| seen.push(client.id));
        assert_eq!((seen, end), (vec![1, 3], None));
    }

    #[test]
    fn comparing_with_patterns_stops_in_time_and_continues() {
        let (channels, [a]) = (Channels::default(), clients());
        for i in 0..100 {
            channels.subscribe(&a, ChannelKind::Pattern, format!("x*{i:03}").as_bytes());
        }
        channels.subscribe(&a, ChannelKind::Pattern, b"y*");
        let past = Instant::now();
        let mut receivers = channels.receivers(&message("y1"), past);
        let mut rounds = 0;
        while let Some(from) = receivers.compared_to.take() {
            channels.compare(&message("y1"), Some(&from), past, &mut receivers);
            rounds += 1;
        }
        assert_eq!((receivers.count, rounds), (1, 100 / COMPARED_AT_ONCE));
    }

    #[test]
    fn bounds_are_checked_before_anything_is_subscribed() {
        let (channels, [a]) = (Channels::default(), clients());
        let check = |kind, added| channels.check_room(&a, kind, (added, added));
        assert_eq!(check(ChannelKind::Channel, SUBSCRIPTIONS_PER_CLIENT_MAX), Ok(()));
        let too_many = Err(TooManySubscriptions::OfClient);
        assert_eq!(check(ChannelKind::Channel, SUBSCRIPTIONS_PER_CLIENT_MAX + 1), too_many);
        assert_eq!(check(ChannelKind::Pattern, CHANNEL_PATTERNS_MAX + 1), Err(TooManySubscriptions::Patterns));
    }
}
