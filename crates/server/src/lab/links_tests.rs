use fastness_wire::peer::v1::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::*;

const PEER: NodeId = NodeId(2);

fn frame(id: u64, bytes: usize) -> Frame {
    let payload = vec![0; bytes].into();
    Frame { messages: vec![Message { group: 1, kind: 1, id, payload, more: false }] }
}

fn id_of(frame: &Frame) -> u64 {
    frame.messages[0].id
}

struct Wire {
    faults: LinkFaults,
    queue: mpsc::Sender<Frame>,
    leaves: Impeded<ReceiverStream<Frame>>,
}

fn wire() -> Wire {
    let faults = LinkFaults::default();
    let (queue, frames) = mpsc::channel(16);
    let leaves = faults.impede(PEER, ReceiverStream::new(frames));
    Wire { faults, queue, leaves }
}

impl Wire {
    async fn send(&self, id: u64) {
        self.queue.send(frame(id, 100)).await.unwrap();
    }

    /// The next frame, and how long it took.
    async fn next(&mut self) -> (u64, Duration) {
        let began = Instant::now();
        let frame = self.leaves.next().await.unwrap();
        (id_of(&frame), began.elapsed())
    }

    async fn nothing_for(&mut self, span: Duration) {
        assert!(timeout(span, self.leaves.next()).await.is_err(), "a frame has left");
    }
}

fn about(span: Duration, ms: u64) -> bool {
    span >= Duration::from_millis(ms) && span < Duration::from_millis(ms + 5)
}

#[tokio::test(start_paused = true)]
async fn without_a_fault_frames_pass() {
    let mut wire = wire();
    wire.send(1).await;
    assert_eq!(wire.next().await, (1, Duration::ZERO));
    assert_eq!(wire.faults.all(), [(PEER, LinkFault::default(), 0)]);
    drop(wire.queue);
    assert!(wire.leaves.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_delay_applies_to_the_link_not_to_each_frame() {
    let mut wire = wire();
    wire.faults.change(PEER, |fault| fault.delay = Duration::from_millis(300));
    for id in 0..3 {
        wire.send(id).await;
    }
    let (id, took) = wire.next().await;
    assert!(id == 0 && about(took, 300), "{took:?}");
    // The following two frames were in transit at the same time.
    for id in 1..3 {
        let (next, took) = wire.next().await;
        assert!(next == id && about(took, 0), "{took:?}");
    }
    assert_eq!(wire.faults.all()[0].2, 3);
}

#[tokio::test(start_paused = true)]
async fn held_frames_are_sent_in_order_when_a_cut_is_healed() {
    let mut wire = wire();
    wire.faults.change(PEER, |fault| fault.cut = true);
    wire.send(1).await;
    wire.nothing_for(Duration::from_secs(3600)).await;
    wire.send(2).await;
    wire.nothing_for(Duration::from_secs(1)).await;
    wire.faults.change(PEER, |fault| *fault = LinkFault::default());
    wire.send(3).await;
    for id in 1..4 {
        assert_eq!(wire.next().await, (id, Duration::ZERO));
    }
}

/// A change must reach an idle stream.
#[tokio::test(start_paused = true)]
async fn a_change_wakes_a_stream_that_waits() {
    let mut wire = wire();
    wire.faults.change(PEER, |fault| fault.cut = true);
    wire.send(1).await;
    let faults = std::mem::take(&mut wire.faults);
    let healer = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        faults.change(PEER, |fault| fault.cut = false);
        faults
    });
    let (id, took) = wire.next().await;
    assert!(id == 1 && about(took, 2_000), "{took:?}");
    healer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept() {
    let mut wire = wire();
    wire.faults.change(PEER, |fault| fault.rate = 10_000);
    for id in 0..5 {
        wire.queue.send(frame(id, 968)).await.unwrap();
    }
    let began = Instant::now();
    for _ in 0..5 {
        wire.next().await;
    }
    // 5,000 bytes with their headers.
    assert!(about(began.elapsed(), 500), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn lost_frames_arrive_late_and_all_later_ones_wait() {
    let mut wire = wire();
    wire.faults.change(PEER, |fault| fault.drop_percent = 50);
    let mut late = 0;
    for id in 0..200 {
        wire.send(id).await;
        let (next, took) = wire.next().await;
        assert_eq!(next, id);
        late += u64::from(took >= RESEND_MIN);
    }
    assert!((60..140).contains(&late), "{late} of 200 were lost");
    wire.faults.change(PEER, |fault| fault.drop_percent = 100);
    wire.send(200).await;
    wire.nothing_for(Duration::from_secs(30)).await;
}

/// At the bound the frame queue fills, and the sender waits.
#[tokio::test(start_paused = true)]
async fn held_frames_are_bounded() {
    let mut wire = wire();
    wire.faults.change(PEER, |fault| fault.cut = true);
    let queue = wire.queue.clone();
    let sender = tokio::spawn(async move {
        for id in 0..u64::MAX {
            if timeout(Duration::from_secs(5), queue.send(frame(id, 1 << 20))).await.is_err() {
                return id;
            }
        }
        u64::MAX
    });
    wire.nothing_for(Duration::from_secs(60)).await;
    let sent = sender.await.unwrap();
    // Eight or nine frames are held, 16 wait in the queue.
    assert!((24..=26).contains(&sent), "{sent} frames were taken");
}

#[test]
fn faults_are_displayed() {
    let mut fault = LinkFault::default();
    assert_eq!(fault.to_string(), "healed");
    fault = LinkFault { delay: Duration::from_millis(30), drop_percent: 5, rate: 1000, cut: true };
    assert_eq!(fault.to_string(), "cut, delay 30 ms, drop 5 %, rate 1000 bytes/s");
    fault.cut = false;
    assert!(fault.is_set());
}

#[test]
fn a_frame_that_is_lost_each_time_arrives_long_after() {
    assert_eq!(time_lost(|| false), Duration::ZERO);
    let mut losses = 2;
    let twice = time_lost(|| {
        losses -= 1;
        losses >= 0
    });
    assert_eq!(twice, Duration::from_millis(600));
    assert!(time_lost(|| true) >= Duration::from_secs(60));
}
