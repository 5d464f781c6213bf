//! jemalloc, as the MEMORY commands ask it: purge, figures, statistics.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};

use fastness_server::allocator::{Allocator, AllocatorFigures};
use tikv_jemalloc_sys::{mallctl, malloc_stats_print};

/// The allocator of this program.
pub(crate) struct Jemalloc;

/// Purges every arena: 4096 is jemalloc's number for all of them (`MALLCTL_ARENAS_ALL`).
const PURGE: &CStr = c"arena.4096.purge";

impl Allocator for Jemalloc {
    #[allow(unsafe_code, reason = "jemalloc is asked through its C interface")]
    fn purge(&self) {
        // SAFETY: the name ends with a zero, and no value is read or written.
        let failed = unsafe { mallctl(PURGE.as_ptr(), null_mut(), null_mut(), null_mut(), 0) };
        if failed != 0 {
            tracing::warn!(code = failed, "jemalloc refused to return memory to the system");
        }
    }

    fn figures(&self) -> Option<AllocatorFigures> {
        renew_statistics();
        Some(AllocatorFigures {
            allocated_bytes: figure(c"stats.allocated")?,
            active_bytes: figure(c"stats.active")?,
            resident_bytes: figure(c"stats.resident")?,
        })
    }

    #[allow(unsafe_code, reason = "jemalloc is asked through its C interface")]
    fn statistics(&self) -> Vec<u8> {
        let mut text: Vec<u8> = Vec::new();
        // SAFETY: `append` gets the pointer to `text`, which is used by nothing else until this call has returned.
        unsafe { malloc_stats_print(Some(append), (&raw mut text).cast(), null()) };
        text
    }
}

/// Has jemalloc collect its figures anew; until then it reports the old ones.
#[allow(unsafe_code, reason = "jemalloc is asked through its C interface")]
fn renew_statistics() {
    let mut epoch: u64 = 1;
    // SAFETY: the name ends with a zero, and `epoch` has the type and the size that jemalloc reads.
    unsafe { mallctl(c"epoch".as_ptr(), null_mut(), null_mut(), (&raw mut epoch).cast(), size_of::<u64>()) };
}

/// A figure of jemalloc's, of type `size_t`; `None`: it has no such figure.
#[allow(unsafe_code, reason = "jemalloc is asked through its C interface")]
fn figure(name: &CStr) -> Option<u64> {
    let (mut value, mut len) = (0_usize, size_of::<usize>());
    // SAFETY: the name ends with a zero; `value` has the size that `len` says, and jemalloc refuses another type.
    let failed = unsafe { mallctl(name.as_ptr(), (&raw mut value).cast(), &raw mut len, null_mut(), 0) };
    (failed == 0).then_some(value as u64)
}

/// Appends a piece of jemalloc's text to the vector that `text` points to.
#[allow(unsafe_code, reason = "jemalloc calls it through its C interface")]
unsafe extern "C" fn append(text: *mut c_void, piece: *const c_char) {
    // SAFETY: `statistics` passes the vector, and jemalloc a text that ends with a zero.
    let (text, piece) = unsafe { (&mut *text.cast::<Vec<u8>>(), CStr::from_ptr(piece)) };
    text.extend_from_slice(piece.to_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jemalloc_answers() {
        let kept = std::hint::black_box(vec![1_u8; 1 << 20]);
        let figures = Jemalloc.figures().expect("its statistics are compiled in");
        assert!(figures.allocated_bytes >= kept.len() as u64, "{figures:?}");
        assert!(figures.active_bytes >= figures.allocated_bytes, "{figures:?}");
        let text = String::from_utf8_lossy(&Jemalloc.statistics()).into_owned();
        assert!(text.contains("Begin jemalloc statistics"), "{text}");
        Jemalloc.purge();
    }
}
