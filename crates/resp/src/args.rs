//! The arguments of one command, independent of where their bytes are stored.

use crate::span::Span;

/// The arguments of one command, the command's name first. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    source: Source<'a>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    /// Offsets into a read buffer.
    Spans {
        bytes: &'a [u8],
        spans: &'a [Span],
    },
    Owned(&'a [Vec<u8>]),
    Slices(&'a [&'a [u8]]),
}

impl<'a> Args<'a> {
    pub(crate) fn spans(bytes: &'a [u8], spans: &'a [Span]) -> Args<'a> {
        Args { source: Source::Spans { bytes, spans } }
    }

    /// Arguments that were copied, such as those of a queued command.
    #[must_use]
    pub fn owned(args: &'a [Vec<u8>]) -> Args<'a> {
        Args { source: Source::Owned(args) }
    }

    /// Arguments in separate buffers.
    #[must_use]
    pub fn slices(args: &'a [&'a [u8]]) -> Args<'a> {
        Args { source: Source::Slices(args) }
    }

    /// Number of arguments, including the command's name.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match self.source {
            Source::Spans { spans, .. } => spans.len(),
            Source::Owned(args) => args.len(),
            Source::Slices(args) => args.len(),
        }
    }

    /// Whether there is no argument, not even a name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Argument `i`; the name is argument 0.
    ///
    /// # Panics
    /// If there is no such argument, as indexing a slice does: the caller has checked the arity.
    #[inline]
    #[must_use]
    pub fn get(&self, i: usize) -> &'a [u8] {
        match self.source {
            Source::Spans { bytes, spans } => spans[i].of(bytes),
            Source::Owned(args) => &args[i],
            Source::Slices(args) => args[i],
        }
    }

    /// Argument `i`, if there is one.
    #[inline]
    #[must_use]
    pub fn try_get(&self, i: usize) -> Option<&'a [u8]> {
        (i < self.len()).then(|| self.get(i))
    }

    /// The arguments from `from` on; none if there are fewer.
    #[must_use]
    pub fn skip(&self, from: usize) -> Args<'a> {
        let from = from.min(self.len());
        let source = match self.source {
            Source::Spans { bytes, spans } => Source::Spans { bytes, spans: &spans[from..] },
            Source::Owned(args) => Source::Owned(&args[from..]),
            Source::Slices(args) => Source::Slices(&args[from..]),
        };
        Args { source }
    }

    /// The first `count` arguments, or all if there are fewer.
    #[must_use]
    pub fn take(&self, count: usize) -> Args<'a> {
        let count = count.min(self.len());
        let source = match self.source {
            Source::Spans { bytes, spans } => Source::Spans { bytes, spans: &spans[..count] },
            Source::Owned(args) => Source::Owned(&args[..count]),
            Source::Slices(args) => Source::Slices(&args[..count]),
        };
        Args { source }
    }

    /// The arguments in order, the name first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let args = *self;
        (0..args.len()).map(move |i| args.get(i))
    }

    /// Copies the arguments, so that they can outlive the read buffer.
    #[must_use]
    pub fn to_owned_args(&self) -> Vec<Vec<u8>> {
        self.iter().map(<[u8]>::to_vec).collect()
    }
}

impl std::fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(<[u8]>::escape_ascii).map(|arg| arg.to_string())).finish()
    }
}
