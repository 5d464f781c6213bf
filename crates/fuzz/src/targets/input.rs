//! What several targets need for their inputs.

/// Most bytes of a target that allocates in proportion to its input.
pub(super) const fn linear(length: usize) -> usize {
    (64 << 10) + 512 * length
}

/// No words.
pub(super) fn none() -> Vec<Vec<u8>> {
    Vec::new()
}

/// These words.
pub(super) fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// These inputs.
pub(super) fn inputs(inputs: &[&[u8]]) -> Vec<Vec<u8>> {
    inputs.iter().map(|input| input.to_vec()).collect()
}

/// A small number that differs between inputs.
pub(super) fn hash(input: &[u8]) -> u64 {
    input.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The pieces of an input, each of which follows its length in two bytes. The last one may be shorter than it says.
pub(super) fn pieces(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (piece, after) = after.split_at(usize::from(u16::from_le_bytes(*length)).min(after.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Pieces as [`pieces`] reads them.
pub(super) fn joined<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&u16::try_from(piece.len()).expect("pieces of seeds are short").to_le_bytes());
        out.extend_from_slice(piece);
    }
    out
}
