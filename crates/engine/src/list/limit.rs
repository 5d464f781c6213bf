//! How large a node of a list may be, with the meaning of Valkey's option `list-max-listpack-size`.
//!
//! The limit decides how a list is divided and what OBJECT ENCODING reports, never what it is: effects name elements by
//! their positions in the list, so replicas with other limits hold the same data. `list-compress-depth` has no
//! counterpart: nodes are not compressed.

/// The bytes of a node for the option's values -1 to -5.
const SIZES: [usize; 5] = [4_096, 8_192, 16_384, 32_768, 65_536];
/// The bytes of a node whose elements are counted.
const SAFE_BYTES: usize = 8_192;
/// Upper bound on what an element takes beside its text, as Valkey estimates it.
const ELEMENT_HEAD: usize = 8;

/// The limit of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeLimit {
    /// Bytes of its listpack.
    Bytes(usize),
    /// Number of its elements, which together take at most [`SAFE_BYTES`].
    Elements(usize),
}

/// That of Valkey's default: 8 KiB.
impl Default for NodeLimit {
    fn default() -> NodeLimit {
        NodeLimit::Bytes(8_192)
    }
}

impl NodeLimit {
    /// The limit of a value of the option: a number of elements, or below 0 a class of sizes.
    pub(crate) fn of_option(option: i64) -> NodeLimit {
        match option {
            0 => NodeLimit::Elements(1),
            1.. => NodeLimit::Elements(usize::try_from(option).unwrap_or(usize::MAX)),
            _ => {
                let class = usize::try_from(option.unsigned_abs()).unwrap_or(usize::MAX) - 1;
                NodeLimit::Bytes(SIZES[class.min(SIZES.len() - 1)])
            }
        }
    }

    /// Whether a list of `count` elements that fits into its key's entry is within the limit.
    pub(super) fn takes_inline(self, count: impl FnOnce() -> usize) -> bool {
        match self {
            // A list in its entry is far shorter than any of the sizes.
            NodeLimit::Bytes(_) => true,
            NodeLimit::Elements(max) => count() <= max,
        }
    }

    /// Whether a listpack of so many bytes and elements is too large.
    pub(super) fn is_exceeded(self, bytes: usize, elements: usize) -> bool {
        match self {
            NodeLimit::Bytes(max) => bytes > max,
            NodeLimit::Elements(max) => bytes > SAFE_BYTES || elements > max,
        }
    }

    /// As [`NodeLimit::is_exceeded`], after a text of so many bytes is added.
    pub(super) fn is_exceeded_with(self, bytes: usize, elements: usize, text: usize) -> bool {
        self.is_exceeded(bytes + text + ELEMENT_HEAD, elements + 1)
    }

    /// Whether a text of so many bytes has a node of its own.
    pub(super) fn is_large(self, text: usize) -> bool {
        text > if let NodeLimit::Bytes(max) = self { max } else { SAFE_BYTES }
    }

    /// Whether a list that consists of one node of so many bytes and elements becomes packed after it has shrunk. Half
    /// the limit, so that a list at the limit does not change its form with each command.
    pub(super) fn is_small(self, bytes: usize, elements: usize) -> bool {
        match self {
            NodeLimit::Bytes(max) => bytes <= max / 2,
            NodeLimit::Elements(max) => elements <= max / 2,
        }
    }

    /// Whether a list that consists of one node of so many bytes and elements is packed when it is restored.
    pub(super) fn fits_packed(self, bytes: usize, elements: usize) -> bool {
        match self {
            NodeLimit::Bytes(max) => bytes <= max,
            NodeLimit::Elements(max) => elements <= max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_option_mean_what_they_mean_in_valkey() {
        for (option, limit) in [
            (-1, NodeLimit::Bytes(4_096)),
            (-2, NodeLimit::Bytes(8_192)),
            (-5, NodeLimit::Bytes(65_536)),
            (-6, NodeLimit::Bytes(65_536)),
            (i64::MIN, NodeLimit::Bytes(65_536)),
            (0, NodeLimit::Elements(1)),
            (1, NodeLimit::Elements(1)),
            (128, NodeLimit::Elements(128)),
            (i64::MAX, NodeLimit::Elements(i64::MAX as usize)),
        ] {
            assert_eq!(NodeLimit::of_option(option), limit, "{option}");
        }
        assert_eq!(NodeLimit::default(), NodeLimit::of_option(-2));
    }

    #[test]
    fn limits() {
        let (bytes, elements) = (NodeLimit::Bytes(4_096), NodeLimit::Elements(10));
        assert!(!bytes.is_exceeded(4_096, 100_000) && bytes.is_exceeded(4_097, 1));
        assert!(!elements.is_exceeded(8_192, 10) && elements.is_exceeded(8_193, 1) && elements.is_exceeded(20, 11));
        assert!(!bytes.is_exceeded_with(4_000, 1, 88) && bytes.is_exceeded_with(4_000, 1, 89));
        assert!(!elements.is_exceeded_with(50, 9, 5) && elements.is_exceeded_with(50, 10, 5));
        assert!(!bytes.is_large(4_096) && bytes.is_large(4_097));
        assert!(!elements.is_large(8_192) && elements.is_large(8_193));
        assert!(bytes.is_small(2_048, 5) && !bytes.is_small(2_049, 5));
        assert!(elements.is_small(9_999, 5) && !elements.is_small(9, 6));
        assert!(bytes.fits_packed(4_096, 5) && !bytes.fits_packed(4_097, 5));
        assert!(elements.fits_packed(9_999, 10) && !elements.fits_packed(9, 11));
    }
}
