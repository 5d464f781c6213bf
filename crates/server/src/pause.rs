//! Pauses with a resolution below one millisecond, the resolution of tokio's timers. The shard loop waits a few hundred
//! microseconds for further writes before it closes a batch.
//!
//! All pauses of a thread share one timerfd. They are ordered by deadline, and the timer is set to the earliest one.
//! One file descriptor per waiting client would double the number of descriptors that a node needs when its log is
//! slow.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use fastness_shard::Pause;
use parking_lot::Mutex;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use smallvec::SmallVec;
use tokio::io::unix::AsyncFd;

/// Makes pauses; see the module. Bound to one thread and its tokio runtime.
#[derive(Default, Clone)]
pub struct TimerPause {
    /// Created at the first pause, because no runtime exists before.
    timer: Rc<std::cell::OnceCell<Option<Rc<Timer>>>>,
}

/// A timerfd and the pauses that share it.
struct Timer {
    fd: AsyncFd<OwnedFd>,
    waiting: Arc<Waiting>,
}

/// The current pauses, by deadline and number. As the waker of the timer, it wakes all pauses that are due.
#[derive(Default)]
struct Waiting {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    wakers: BTreeMap<(Instant, u64), Waker>,
    numbers: u64,
    /// The deadline to which the timer is set.
    set_to: Option<Instant>,
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        let now = Instant::now();
        let mut queue = self.queue.lock();
        queue.set_to = None;
        // The first pause is woken even if it is not due: it sets the timer again.
        let first = queue.wakers.first_key_value().map(|(_, waker)| waker.clone());
        let due: SmallVec<[Waker; 4]> =
            queue.wakers.range(..=(now, u64::MAX)).map(|(_, waker)| waker.clone()).collect();
        drop(queue);
        due.into_iter().chain(first).for_each(Waker::wake);
    }
}

impl Timer {
    fn new() -> io::Result<Timer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[allow(
            deprecated,
            reason = "its soundness requires that the descriptor is owned, which it is; the newer one is unsafe"
        )]
        let fd = AsyncFd::new(timer)?;
        Ok(Timer { fd, waiting: Arc::default() })
    }

    /// Sets the timer to the earliest deadline, unless it is set to it already.
    fn set(&self) -> io::Result<()> {
        let mut queue = self.waiting.queue.lock();
        let Some(((first, _), _)) = queue.wakers.first_key_value() else { return Ok(()) };
        let first = *first;
        if queue.set_to.is_some_and(|set_to| set_to <= first) {
            return Ok(());
        }
        queue.set_to = Some(first);
        drop(queue);
        // 0 would disarm the timer.
        let nanos = first.saturating_duration_since(Instant::now()).as_nanos().max(1);
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as i64 },
        };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &once)?;
        let waker = Waker::from(self.waiting.clone());
        let mut context = Context::from_waker(&waker);
        // Registers the waker for the next expiration. A readiness from an earlier one is out of date and is cleared.
        while let Poll::Ready(ready) = self.fd.poll_read_ready(&mut context) {
            let mut expirations = [0u8; 8];
            if ready?.try_io(|fd| Ok(rustix::io::read(fd, &mut expirations)?)).is_ok() {
                // The timer has expired since it was set.
                self.waiting.clone().wake();
                break;
            }
        }
        Ok(())
    }
}

/// One pause.
struct Sleep {
    timer: Rc<Timer>,
    deadline: Instant,
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deadline <= Instant::now() {
            return Poll::Ready(Ok(()));
        }
        let timer = self.timer.clone();
        let mut queue = timer.waiting.queue.lock();
        let number = *self.number.get_or_insert_with(|| {
            queue.numbers += 1;
            queue.numbers
        });
        queue.wakers.insert((self.deadline, number), cx.waker().clone());
        drop(queue);
        match timer.set() {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        self.timer.waiting.queue.lock().wakers.remove(&(self.deadline, number));
        // This pause may have been woken to set the timer for the others. An error here is harmless, because each of
        // the others sets the timer when it is polled.
        let _ = self.timer.set();
    }
}

impl Pause for TimerPause {
    fn pause(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()>>> {
        let pause = self.clone();
        Box::pin(async move {
            let timer = pause.timer.get_or_init(|| Timer::new().ok().map(Rc::new)).clone();
            let precise = match (timer, Instant::now().checked_add(span)) {
                (Some(timer), Some(deadline)) => Sleep { timer, deadline, number: None }.await,
                _ => Err(io::ErrorKind::Unsupported.into()),
            };
            if precise.is_err() {
                // Without a file descriptor for the timer: fall back to tokio's coarser one.
                tokio::time::sleep(span).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(test: impl AsyncFnOnce(TimerPause)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test(TimerPause::default()));
    }

    #[test]
    fn a_pause_lasts_at_least_as_long_as_requested() {
        run(async |pause| {
            for _ in 0..3 {
                let before = Instant::now();
                pause.pause(Duration::from_micros(300)).await;
                assert!(before.elapsed() >= Duration::from_micros(300));
            }
        });
    }

    #[test]
    fn a_dropped_pause_does_not_end_the_next_one() {
        run(async |pause| {
            let given_up = pause.pause(Duration::from_micros(100));
            tokio::select! { biased; () = std::future::ready(()) => {}, () = given_up => {} }
            let mut started = pause.pause(Duration::from_micros(100));
            assert!(futures::poll!(&mut started).is_pending());
            drop(started);
            std::thread::sleep(Duration::from_millis(2));
            let before = Instant::now();
            pause.pause(Duration::from_millis(3)).await;
            assert!(before.elapsed() >= Duration::from_millis(3));
        });
    }

    /// Regression test: each waiting client had a timerfd of its own.
    #[test]
    fn a_thousand_pauses_need_one_descriptor() {
        run(async |pause| {
            pause.pause(Duration::from_micros(10)).await;
            let timers = || {
                let files = std::fs::read_dir("/proc/self/fd").expect("a list of descriptors");
                let is_timer = |file: &std::fs::DirEntry| {
                    std::fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().contains("timerfd"))
                };
                files.flatten().filter(|file| is_timer(file)).count()
            };
            let before = timers();
            let began = Instant::now();
            let pauses: Vec<_> = (0..1_000u64)
                .map(|i| {
                    let span = Duration::from_micros(1_000 + (i * 7_919) % 30_000);
                    let pause = pause.pause(span);
                    async move {
                        pause.await;
                        assert!(began.elapsed() >= span);
                    }
                })
                .collect();
            let all = futures::future::join_all(pauses);
            tokio::pin!(all);
            assert!(futures::poll!(&mut all).is_pending());
            // Other tests in this process pause at the same time, each thread with one timer.
            assert!(timers() < before + 20, "{} timers, {before} before", timers());
            // Some pauses are dropped; the others must be woken all the same.
            let mut given_up: Vec<_> = (0..100).map(|_| pause.pause(Duration::from_micros(500))).collect();
            for pause in &mut given_up {
                assert!(futures::poll!(pause).is_pending());
            }
            drop(given_up);
            tokio::time::timeout(Duration::from_secs(20), all).await.expect("all of them end");
        });
    }
}
