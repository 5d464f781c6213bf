//! Elements in the order that SORT requests.

use super::look_ups::LookUps;
use super::options::SortOptions;
use super::sortable::{Sortable, SortedElements};
use crate::codec::listpack::Packable;
use crate::error::CommandError;
use crate::zset::score;
use std::cmp::Ordering;
use std::ops::Range;

/// The fewest elements among which the first ones are selected.
const SELECTED_MIN: usize = 128;

/// An element, and what it is ordered by.
#[derive(Debug, Clone, Copy)]
struct Weighed<'e, W> {
    element: Packable<'e>,
    weight: W,
    /// Its place in the value's own order.
    place: usize,
}

/// The elements that LIMIT leaves, in the requested order.
pub(super) fn elements<'e>(
    sortable: Sortable<'e>,
    options: &SortOptions<'_>,
    look_ups: &mut LookUps<'e>,
) -> Result<SortedElements<'e>, CommandError> {
    let range = options.range(sortable.len());
    // As in Valkey, what is stored of a set does not depend on the order of a hash table.
    let is_by_name = options.is_unsorted && options.store.is_some() && matches!(sortable, Sortable::Set(_));
    if options.is_unsorted && !is_by_name {
        return Ok(sortable.range(range, options.is_descending));
    }
    let all = sortable.range(0..sortable.len(), false);
    let by = options.by.filter(|_| !is_by_name);
    let selection = SortSelection { range, is_descending: options.is_descending };
    let compare: fn(Packable<'_>, Packable<'_>) -> Ordering =
        if options.store.is_some() { compare_bytes } else { compare_terminated };
    if !options.is_alpha && !is_by_name {
        let weigh = |element| match &by {
            Some(by) => look_ups.find(by, element)?.map_or(Ok(0.0), number),
            None => number(element),
        };
        return selection.take(all, weigh, |a, b| {
            let by_weight = a.weight.partial_cmp(&b.weight).unwrap_or(Ordering::Equal);
            by_weight.then_with(|| compare_bytes(a.element, b.element))
        });
    }
    match &by {
        // What has no weight comes first.
        Some(by) => selection.take(
            all,
            |element| look_ups.find(by, element),
            |a, b| match (a.weight, b.weight) {
                (Some(a), Some(b)) => compare(a, b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            },
        ),
        None => selection.take(all, |_| Ok(()), |a, b| compare(a.element, b.element)),
    }
}

/// Which of the sorted elements are wanted.
struct SortSelection {
    range: Range<usize>,
    is_descending: bool,
}

impl SortSelection {
    /// Sorts in one pass. Whenever twice as many elements as are wanted have been collected, the later half is dropped.
    /// Every element is weighed, so that each one that has no weight is an error.
    fn take<'e, W: Copy + 'e>(
        self,
        elements: SortedElements<'e>,
        mut weigh: impl FnMut(Packable<'e>) -> Result<W, CommandError>,
        compare: impl Fn(&Weighed<'e, W>, &Weighed<'e, W>) -> Ordering,
    ) -> Result<SortedElements<'e>, CommandError> {
        let SortSelection { range, is_descending } = self;
        let full = range.end.saturating_mul(2).max(SELECTED_MIN);
        let order = |a: &Weighed<'e, W>, b: &Weighed<'e, W>| {
            let ascending = compare(a, b);
            (if is_descending { ascending.reverse() } else { ascending }).then(a.place.cmp(&b.place))
        };
        let mut kept: Vec<Weighed<'e, W>> = Vec::new();
        let mut bound: Option<Weighed<'e, W>> = None;
        for (place, element) in elements.enumerate() {
            let weighed = Weighed { element, weight: weigh(element)?, place };
            if bound.is_some_and(|bound| order(&weighed, &bound).is_gt()) {
                continue;
            }
            kept.push(weighed);
            if kept.len() == full {
                bound = Some(*kept.select_nth_unstable_by(range.end, order).1);
                kept.truncate(range.end);
            }
        }
        kept.sort_unstable_by(order);
        let count = range.len();
        Ok(Box::new(kept.into_iter().skip(range.start).take(count).map(|one| one.element)))
    }
}

/// The number that a text states, which Valkey reads as a C string: it ends at a zero byte.
fn number(text: Packable<'_>) -> Result<f64, CommandError> {
    const NO_NUMBER: CommandError = CommandError::Fixed("ERR One or more scores can't be converted into double");
    match text {
        Packable::Int(number) => Ok(number as f64),
        Packable::Text(text) => score::parse(text.split(|byte| *byte == 0).next().unwrap_or(text)).ok_or(NO_NUMBER),
    }
}

fn compare_bytes(a: Packable<'_>, b: Packable<'_>) -> Ordering {
    a.text(&mut itoa::Buffer::new()).cmp(b.text(&mut itoa::Buffer::new()))
}

/// As [`compare_bytes`], up to the first zero byte.
fn compare_terminated(a: Packable<'_>, b: Packable<'_>) -> Ordering {
    let (mut of_a, mut of_b) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (a, b) = (a.text(&mut of_a), b.text(&mut of_b));
    let same = a.iter().zip(b).take_while(|(a, b)| a == b && **a != 0).count();
    let next = |text: &[u8]| text.get(same).copied().filter(|byte| *byte != 0);
    next(a).cmp(&next(b))
}
