//! Changes of lists. Each stages one effect and performs it, unless the unit would become too long with it; such a unit
//! is rolled back as a whole. The caller has looked the key up before, which removed an expired one.

use super::change::{ListChange, ListEnd, write_positions};
use super::effect::ListEffect;
use super::node_list::NodeList;
use crate::codec::listpack::Packable;
use crate::effect::Items;
use crate::engine::Engine;
use crate::env::Env;
use crate::keyspace::Key;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

impl Engine {
    /// Makes one change of a list.
    pub(super) fn change_list(&mut self, key: &Key<'_>, change: ListChange<'_>, env: &mut Env<'_>) {
        self.stage(ListEffect { key: *key, change }, env.effects, env.now);
    }

    /// Replaces what a key holds by a list, with one effect for each of its nodes; without elements the key is removed.
    /// Returns whether it held anything.
    pub(crate) fn put_list(&mut self, key: &Key<'_>, list: &NodeList, env: &mut Env<'_>) -> bool {
        let existed = self.unlink(key, env);
        let mark = self.notified();
        for node in list.nodes.iter() {
            let elements: Vec<Vec<u8>> = node.iter().map(Packable::to_vec).collect();
            let elements = Items::from(Args::owned(&elements));
            self.change_list(key, ListChange::AddNode { plain: node.is_plain(), elements }, env);
        }
        self.is_replaced(existed, mark);
        existed
    }

    /// Adds elements at an end, at least one.
    pub(super) fn push_elements(&mut self, key: &Key<'_>, end: ListEnd, elements: Args<'_>, env: &mut Env<'_>) {
        self.change_list(key, ListChange::Push { end, elements: Items::from(elements) }, env);
        self.notify(NotifyClasses::LIST, end.pushed(), key);
    }

    /// Removes elements from an end, and the key with its last element. Without elements nothing happens.
    pub(super) fn pop_elements(&mut self, key: &Key<'_>, end: ListEnd, count: usize, env: &mut Env<'_>) {
        let count = count as u64;
        let (head, tail) = if end == ListEnd::Head { (count, 0) } else { (0, count) };
        if count > 0 {
            self.change_list(key, ListChange::Trim { head, tail }, env);
            self.notify_removal(NotifyClasses::LIST, end.popped(), key);
        }
    }

    /// Removes the elements at these positions, which rise. Without positions nothing happens.
    pub(super) fn remove_elements(&mut self, key: &Key<'_>, positions: &[usize], env: &mut Env<'_>) {
        if !positions.is_empty() {
            let positions = write_positions(positions);
            self.change_list(key, ListChange::Remove { positions: &positions }, env);
        }
    }
}
