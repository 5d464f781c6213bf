//! The runtime that openraft runs on: tokio, without its sources of randomness.
//!
//! - Random numbers, which openraft uses for election time-outs and first ticks, come from a seed with which each group
//!   is started ([`Runtime::seeded`]). Spawned tasks inherit it. Production draws the seed at random.
//! - Tasks that wait for a change are woken in the order in which they started to wait (`raft/watch.rs`).
//!
//! So a simulation, which sets the seed, runs the same way every time. openraft spawns tasks and draws numbers only
//! within the tasks that `Raft::new` spawns; outside of [`Runtime::seeded`] it would panic.

use std::future::Future;
use std::time::Duration;

use openraft::OptionalSend;
use openraft::async_runtime::{AsyncRuntime, watch};
use openraft::impls::TokioRuntime;
use openraft::rt::deterministic_rng::DeterministicRng;

use crate::raft::watch::{Receiver, Ref, Sender};

type Seeded = DeterministicRng<TokioRuntime>;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Runtime(Seeded);

impl Runtime {
    /// Runs `starting` with a seed for the random numbers of all tasks that it spawns.
    pub(crate) fn seeded<F: Future>(seed: u64, starting: F) -> impl Future<Output = F::Output> + use<F> {
        Seeded::scope(seed, starting)
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = <Seeded as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Seeded as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Seeded as AsyncRuntime>::Sleep;
    type Instant = <Seeded as AsyncRuntime>::Instant;
    type TimeoutError = <Seeded as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Seeded as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <Seeded as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <Seeded as AsyncRuntime>::Mpsc;
    type Watch = OrderedWatch;
    type Oneshot = <Seeded as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Seeded as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Seeded::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Seeded::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Seeded::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        Seeded::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        Seeded::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        Seeded::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        Seeded::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Runtime(Seeded::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

/// `raft/watch.rs`, as openraft's watch channel.
pub(crate) struct OrderedWatch;

impl watch::Watch for OrderedWatch {
    type Sender<T: Send + Sync> = Sender<T>;
    type Receiver<T: Send + Sync> = Receiver<T>;
    type Ref<'a, T: Send + 'a> = Ref<'a, T>;

    fn channel<T: Send + Sync>(init: T) -> (Sender<T>, Receiver<T>) {
        let sender = Sender::new(init);
        let receiver = sender.subscribe();
        (sender, receiver)
    }
}

impl<T: Send + Sync> watch::WatchSender<OrderedWatch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), watch::SendError<T>> {
        Sender::send(self, value).map_err(watch::SendError)
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        Sender::send_if_modified(self, modify)
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        Sender::subscribe(self)
    }
}

impl<T: Send + Sync> watch::WatchReceiver<OrderedWatch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), watch::RecvError> {
        Receiver::changed(self).await.map_err(|_| watch::RecvError(()))
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.borrow()
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        Receiver::borrow_and_update(self)
    }
}

#[cfg(test)]
mod tests {
    use openraft::rt::testing::Suite;

    use super::*;

    #[test]
    fn openrafts_own_suite_passes() {
        // Without the suite's part about seeds, which nests a second seeded runtime in this one.
        Suite::<Runtime>::test_all_on(&mut Runtime::new(1));
    }
}
