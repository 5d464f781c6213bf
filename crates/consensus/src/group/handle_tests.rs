//! Which tasks the actions of the owner wake.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};

use super::*;
use crate::testing::NoLog;

/// A task that repeatedly waits for the same notification.
struct Waiter<F> {
    wait: F,
    waiting: Pin<Box<dyn Future<Output = ()>>>,
    wakes: Arc<Wakes>,
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl<F: Fn() -> Pin<Box<dyn Future<Output = ()>>>> Waiter<F> {
    fn new(wait: F) -> Waiter<F> {
        let waiting = wait();
        let mut waiter = Waiter { wait, waiting, wakes: Arc::default() };
        waiter.run();
        waiter
    }

    fn run(&mut self) {
        let waker = Waker::from(self.wakes.clone());
        while self.waiting.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(()) {
            self.waiting = (self.wait)();
        }
    }

    /// How often the task was woken since the last call. Then the task runs.
    fn take(&mut self) -> usize {
        let wakes = self.wakes.0.swap(0, Ordering::Relaxed);
        self.run();
        wakes
    }
}

#[test]
fn a_proposal_wakes_the_proposer_alone() {
    let (handle, driver) = group_pair(GroupId(1), Arc::new(NoLog), Events::only_logged());
    let mut proposer = {
        let driver = driver.clone();
        Waiter::new(move || {
            let driver = driver.clone();
            Box::pin(async move { driver.proposed().await }) as Pin<Box<dyn Future<Output = ()>>>
        })
    };
    let mut supervisor = {
        let driver = driver.clone();
        Waiter::new(move || {
            let driver = driver.clone();
            Box::pin(async move { driver.reported().await }) as Pin<Box<dyn Future<Output = ()>>>
        })
    };
    let mut owner = {
        let handle = handle.clone();
        Waiter::new(move || {
            let handle = handle.clone();
            Box::pin(async move { handle.changed().await }) as Pin<Box<dyn Future<Output = ()>>>
        })
    };
    let epoch = Epoch { term: 1, node: NodeId(1) };
    for seq in 1..=10 {
        handle.propose(Proposal { epoch, seq: Seq(seq), payload: Bytes::from_static(b"effects") });
        assert_eq!((proposer.take(), supervisor.take(), owner.take()), (1, 0, 0), "proposal {seq}");
    }
    handle.report_ready(true);
    assert_eq!((proposer.take(), supervisor.take(), owner.take()), (0, 1, 0), "a report is no proposal");
    driver.advance_committed(LogIndex(10));
    driver.advance_committed(LogIndex(10));
    assert_eq!((proposer.take(), supervisor.take(), owner.take()), (0, 0, 1), "a commit concerns the owner");
    assert_eq!(std::iter::from_fn(|| driver.next_proposal()).count(), 10);
}
