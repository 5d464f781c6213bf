//! Pauses shorter than tokio's timers (whole milliseconds) can make: the shard loop waits for some hundred microseconds
//! for writes to come back before it closes a batch. By timerfd, one `timerfd_settime` and one `read` per pause.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use fastness_shard::Pause;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Timers that are kept for the next pause.
const IDLE_TIMERS_MAX: usize = 4;

/// See the module. On one thread, inside its runtime.
#[derive(Default, Clone)]
pub struct TimerPause {
    idle: Rc<RefCell<Vec<AsyncFd<OwnedFd>>>>,
}

/// A timer that goes back to the idle ones when its pause ends, or is given up.
struct Borrowed {
    timer: Option<AsyncFd<OwnedFd>>,
    idle: Rc<RefCell<Vec<AsyncFd<OwnedFd>>>>,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_TIMERS_MAX {
            idle.extend(self.timer.take());
        }
    }
}

impl TimerPause {
    fn borrow(&self) -> io::Result<Borrowed> {
        let idle = self.idle.borrow_mut().pop();
        let timer = match idle {
            Some(timer) => timer,
            None => {
                let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
                let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
                #[allow(
                    deprecated,
                    reason = "its soundness asks that the descriptor be owned, which it is; the newer one is unsafe"
                )]
                AsyncFd::new(timer)?
            }
        };
        Ok(Borrowed { timer: Some(timer), idle: self.idle.clone() })
    }

    async fn precise(&self, span: Duration) -> io::Result<()> {
        let borrowed = self.borrow()?;
        let Some(timer) = &borrowed.timer else { return Ok(()) };
        // 0 would disarm it.
        let nanos = span.as_nanos().max(1);
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as i64 },
        };
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
        let mut expirations = [0u8; 8];
        loop {
            let mut ready = timer.readable().await?;
            // Ready from an earlier pause that was given up: setting it anew has emptied it.
            if ready.try_io(|timer| Ok(rustix::io::read(timer, &mut expirations)?)).is_ok() {
                return Ok(());
            }
        }
    }
}

impl Pause for TimerPause {
    fn pause(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()>>> {
        let pause = self.clone();
        Box::pin(async move {
            if pause.precise(span).await.is_err() {
                // Out of file descriptors: coarser is better than not at all.
                tokio::time::sleep(span).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_pause_lasts_at_least_as_long_as_asked() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let pause = TimerPause::default();
            for _ in 0..3 {
                let before = Instant::now();
                pause.pause(Duration::from_micros(300)).await;
                assert!(before.elapsed() >= Duration::from_micros(300));
            }
            assert_eq!(pause.idle.borrow().len(), 1);
        });
    }

    #[test]
    fn a_pause_that_was_given_up_does_not_end_the_next_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let pause = TimerPause::default();
            let given_up = pause.pause(Duration::from_micros(100));
            tokio::select! { biased; () = std::future::ready(()) => {}, () = given_up => {} }
            let mut begun = pause.pause(Duration::from_micros(100));
            assert!(futures::poll!(&mut begun).is_pending());
            drop(begun);
            std::thread::sleep(Duration::from_millis(2));
            let before = Instant::now();
            pause.pause(Duration::from_millis(3)).await;
            assert!(before.elapsed() >= Duration::from_millis(3));
        });
    }
}
