//! Which node serves which slot, as CLUSTER SLOTS says.

use fastness_resp::value::Value;
use fastness_types::SLOTS;

use crate::address::Address;

/// The primaries of all slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotMap {
    primaries: Vec<Address>,
    /// Indexes in `primaries`.
    by_slot: Vec<Option<u16>>,
}

impl SlotMap {
    /// Everything is on one node.
    #[must_use]
    pub fn whole(node: Address) -> SlotMap {
        SlotMap { primaries: vec![node], by_slot: vec![Some(0); SLOTS] }
    }

    /// The reply to CLUSTER SLOTS of the node at `from`; `None` if it is not such a reply.
    #[must_use]
    pub fn read(reply: &Value, from: &Address) -> Option<SlotMap> {
        let Value::Array(ranges) = reply else { return None };
        let mut map = SlotMap { primaries: Vec::new(), by_slot: vec![None; SLOTS] };
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let [Value::Integer(first), Value::Integer(last), primary, ..] = parts.as_slice() else { return None };
            let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
            // A slice takes a range that ends one before its start for an empty one.
            if first > last {
                return None;
            }
            let index = u16::try_from(map.primaries.len()).ok()?;
            map.by_slot.get_mut(first..=last)?.fill(Some(index));
            map.primaries.push(node(primary, from)?);
        }
        Some(map)
    }

    /// The primary of a slot, if it is known.
    #[must_use]
    pub fn primary(&self, slot: u16) -> Option<&Address> {
        let index = (*self.by_slot.get(usize::from(slot))?)?;
        self.primaries.get(usize::from(index))
    }

    /// A node says that a slot is served by this one.
    pub fn assign(&mut self, slot: u16, node: Address) {
        let known = self.primaries.iter().position(|primary| *primary == node);
        let index = known.unwrap_or_else(|| {
            self.primaries.push(node);
            self.primaries.len() - 1
        });
        if let Some(place) = self.by_slot.get_mut(usize::from(slot)) {
            *place = u16::try_from(index).ok();
        }
    }

    /// All primaries.
    #[must_use]
    pub fn primaries(&self) -> &[Address] {
        &self.primaries
    }
}

fn node(node: &Value, from: &Address) -> Option<Address> {
    let Value::Array(parts) = node else { return None };
    let [host, Value::Integer(port), ..] = parts.as_slice() else { return None };
    let host = host.as_bytes().filter(|host| !host.is_empty()).map_or(Ok(from.host.as_str()), std::str::from_utf8);
    Some(Address::new(host.ok()?, u16::try_from(*port).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: &str, port: i64) -> Value {
        let node = Value::Array(vec![Value::Bulk(host.as_bytes().to_vec()), Value::Integer(port)]);
        Value::Array(vec![Value::Integer(first), Value::Integer(last), node.clone(), node])
    }

    #[test]
    fn slots_have_primaries() {
        let from = Address::new("seed", 1);
        let reply = Value::Array(vec![range(0, 99, "a", 1), range(100, 16_383, "", 2)]);
        let map = SlotMap::read(&reply, &from).unwrap();
        assert_eq!(map.primary(99), Some(&Address::new("a", 1)));
        assert_eq!(map.primary(100), Some(&Address::new("seed", 2)));
        assert_eq!(map.primaries().len(), 2);
        let gap = SlotMap::read(&Value::Array(vec![range(1, 2, "a", 1)]), &from).unwrap();
        assert_eq!(gap.primary(0), None);
        let mut changed = map.clone();
        changed.assign(99, Address::new("seed", 2));
        changed.assign(98, Address::new("c", 3));
        assert_eq!((changed.primary(99), changed.primary(97)), (map.primary(100), map.primary(97)));
        assert_eq!(changed.primary(98), Some(&Address::new("c", 3)));
        assert_eq!(SlotMap::whole(from.clone()).primary(16_383), Some(&from));
    }

    #[test]
    fn what_is_no_topology_is_refused() {
        let from = Address::new("seed", 1);
        for wrong in [range(0, 16_384, "a", 1), range(5, 4, "a", 1), range(-1, 4, "a", 1), range(0, 1, "a", 70_000)] {
            assert_eq!(SlotMap::read(&Value::Array(vec![wrong.clone()]), &from), None, "{wrong:?}");
        }
        assert_eq!(SlotMap::read(&Value::Null, &from), None);
    }
}
