//! The options of SORT and SORT_RO.

use super::look_ups::KeyPattern;
use crate::command::parse::integer;
use crate::error::CommandError;
use crate::generic::scan::pattern_slot;
use fastness_resp::Args;
use fastness_types::slot_of;
use std::ops::Range;

const BY_OTHER_SLOT: CommandError = CommandError::Fixed(
    "ERR BY option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots.",
);
const GET_OTHER_SLOT: CommandError = CommandError::Fixed(
    "ERR GET option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots.",
);
const BY_RIGHTS: CommandError =
    CommandError::Fixed("ERR BY option of SORT denied due to insufficient ACL permissions.");
const GET_RIGHTS: CommandError =
    CommandError::Fixed("ERR GET option of SORT denied due to insufficient ACL permissions.");

/// Whether an error says that the user may not read every key.
pub(super) fn is_about_rights(error: &CommandError) -> bool {
    *error == BY_RIGHTS || *error == GET_RIGHTS
}

/// The parsed options.
#[derive(Debug)]
pub(super) struct SortOptions<'a> {
    /// What elements are ordered by, if not by themselves.
    pub(super) by: Option<KeyPattern<'a>>,
    /// Whether the order stays as it is: a BY named a constant.
    pub(super) is_unsorted: bool,
    /// What each element is replaced by, at least one.
    pub(super) gets: Vec<KeyPattern<'a>>,
    offset: i64,
    /// Below 0: no limit.
    count: i64,
    pub(super) is_descending: bool,
    /// Whether texts are compared, not numbers.
    pub(super) is_alpha: bool,
    /// Where the result is stored.
    pub(super) store: Option<&'a [u8]>,
}

impl<'a> SortOptions<'a> {
    /// Parses a request. `may_store`: of SORT. `reads_every_key`: whether the user may read keys that patterns name.
    pub(super) fn parse(
        args: Args<'a>,
        may_store: bool,
        reads_every_key: bool,
    ) -> Result<SortOptions<'a>, CommandError> {
        let slot = slot_of(args.get(1));
        let check = |pattern: &[u8], other_slot: CommandError, rights: CommandError| match pattern_slot(pattern) {
            of_pattern if of_pattern != Some(slot) => Err(other_slot),
            _ if reads_every_key => Ok(()),
            _ => Err(rights),
        };
        let mut parsed = SortOptions {
            by: None,
            is_unsorted: false,
            gets: Vec::new(),
            offset: 0,
            count: -1,
            is_descending: false,
            is_alpha: false,
            store: None,
        };
        let mut at = 2;
        while let Some(option) = args.try_get(at) {
            let (first, second) = (args.try_get(at + 1), args.try_get(at + 2));
            at += match (option.to_ascii_lowercase().as_slice(), first, second) {
                (b"asc", ..) => {
                    parsed.is_descending = false;
                    1
                }
                (b"desc", ..) => {
                    parsed.is_descending = true;
                    1
                }
                (b"alpha", ..) => {
                    parsed.is_alpha = true;
                    1
                }
                (b"limit", Some(offset), Some(count)) => {
                    (parsed.offset, parsed.count) = (integer(offset)?, integer(count)?);
                    3
                }
                (b"store", Some(destination), _) if may_store => {
                    parsed.store = Some(destination);
                    2
                }
                (b"by", Some(pattern), _) => {
                    let by = KeyPattern::parse(pattern);
                    if by.is_constant() {
                        parsed.is_unsorted = true;
                    } else {
                        check(pattern, BY_OTHER_SLOT, BY_RIGHTS)?;
                    }
                    parsed.by = Some(by);
                    2
                }
                (b"get", Some(pattern), _) => {
                    let get = KeyPattern::parse(pattern);
                    match get {
                        KeyPattern::Element if reads_every_key => {}
                        KeyPattern::Element => return Err(GET_RIGHTS),
                        _ => check(pattern, GET_OTHER_SLOT, GET_RIGHTS)?,
                    }
                    parsed.gets.push(get);
                    2
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        if parsed.gets.is_empty() {
            parsed.gets.push(KeyPattern::Element);
        }
        Ok(parsed)
    }

    /// The places of the elements that LIMIT leaves of `len` sorted ones.
    pub(super) fn range(&self, len: usize) -> Range<usize> {
        let within = |number: i64| usize::try_from(number.max(0)).map_or(len, |number| number.min(len));
        let start = within(self.offset);
        let end = if self.count < 0 { len } else { len.min(start + within(self.count)) };
        start..end
    }

    /// How many keys are read for patterns when `len` elements are sorted.
    pub(super) fn look_ups(&self, len: usize) -> usize {
        let named = self.gets.iter().filter(|get| !get.is_constant()).count();
        let by = if self.is_unsorted || self.by.is_none() { 0 } else { len };
        self.range(len).len().saturating_mul(named).saturating_add(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed<'a>(words: &'a [&'a [u8]]) -> SortOptions<'a> {
        SortOptions::parse(Args::slices(words), true, true).unwrap()
    }

    #[test]
    fn limits() {
        let range = |offset: &str, count: &str| {
            parsed(&[b"sort", b"k", b"limit", offset.as_bytes(), count.as_bytes()]).range(10)
        };
        assert_eq!([range("0", "3"), range("-5", "2"), range("8", "5"), range("9", "1")], [0..3, 0..2, 8..10, 9..10]);
        assert_eq!(
            [range("2", "-1"), range("2", "-9"), range("0", "0"), range("20", "1")],
            [2..10, 2..10, 0..0, 10..10]
        );
        let (min, max) = (i64::MIN.to_string(), i64::MAX.to_string());
        assert_eq!([range(&max, &max), range(&min, &max), range("3", &min)], [10..10, 0..10, 3..10]);
        assert_eq!(parsed(&[b"sort", b"k"]).range(10), 0..10);
    }

    #[test]
    fn later_options_replace_earlier_ones_but_a_constant_order_stays() {
        let options =
            parsed(&[b"sort", b"{k}", b"by", b"x", b"by", b"{k}*", b"DESC", b"asc", b"store", b"a", b"store", b"b"]);
        assert!(options.is_unsorted && !options.is_descending && options.by.is_some());
        assert_eq!(options.store, Some(&b"b"[..]));
    }
}
