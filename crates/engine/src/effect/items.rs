//! Arguments of effects that take any number of them.

use super::reader::EffectReader;
use fastness_resp::Args;

/// Any number of arguments: of a command, or of an encoded effect.
#[derive(Clone, Copy)]
pub struct Items<'a>(ItemSource<'a>);

#[derive(Clone, Copy)]
enum ItemSource<'a> {
    Args(Args<'a>),
    Encoded { bytes: &'a [u8], count: usize },
}

impl<'a> From<Args<'a>> for Items<'a> {
    fn from(args: Args<'a>) -> Items<'a> {
        Items(ItemSource::Args(args))
    }
}

impl<'a> Items<'a> {
    /// Encoded arguments, `count` of them, which have been checked.
    pub(super) fn encoded(bytes: &'a [u8], count: usize) -> Items<'a> {
        Items(ItemSource::Encoded { bytes, count })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.0 {
            ItemSource::Args(args) => args.len(),
            ItemSource::Encoded { count, .. } => count,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every argument, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let (args, encoded) = match self.0 {
            ItemSource::Args(args) => (Some(args), &[][..]),
            ItemSource::Encoded { bytes, .. } => (None, bytes),
        };
        let of_args = args.into_iter().flat_map(|args| (0..args.len()).map(move |i| args.get(i)));
        let mut reader = EffectReader { rest: encoded };
        of_args.chain(std::iter::from_fn(move || reader.argument().ok()))
    }

    /// The arguments in pairs, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        let mut items = self.iter();
        std::iter::from_fn(move || Some((items.next()?, items.next()?)))
    }
}

impl std::fmt::Debug for Items<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|item| item.escape_ascii().to_string())).finish()
    }
}

impl PartialEq for Items<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Items<'_> {}
