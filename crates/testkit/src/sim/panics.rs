//! Panics of simulated tasks. The runtime swallows them; here every panic is a finding.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    /// `None` on threads that run no simulation.
    static SEEN: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Starts to collect the panics of this thread, which are also printed.
pub fn begin() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            SEEN.with_borrow_mut(|seen| {
                if let Some(seen) = seen {
                    seen.push(info.to_string());
                }
            });
            before(info);
        }));
    });
    SEEN.set(Some(Vec::new()));
}

/// Takes the panics of this thread since the last call.
#[must_use]
pub fn take() -> Vec<String> {
    SEEN.with_borrow_mut(|seen| seen.as_mut().map(std::mem::take)).unwrap_or_default()
}
