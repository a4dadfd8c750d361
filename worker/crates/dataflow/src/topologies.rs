//! Small job graphs, random ones and all shapes that there are, over queues with room for one input: rows,
//! watermarks and barriers get through, barriers cut where they must, and nothing waits for itself; within one process, and spread over
//! several that exchange rows over real connections. F31.

mod random;
mod shapes;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use tokio::sync::mpsc;
use weir_protocol::*;
use weir_runtime::tls::Transport;
use weir_runtime::{Random, SeededRandom, SystemClock};

use crate::deploy::Deployment;
use crate::encoder::{EncodedOrNot, Encoder};
use crate::exchange::Routes;
use crate::exchange::testing::{exchange, tls};
use crate::restore::Restored;
use crate::sizes::Sizes;
use crate::slot::{Command, Events, SlotEvent, SlotHandle, Waiting};
use crate::*;
use random::{Seen, random_job};
use shapes::{Shape, shapes};

pub(crate) fn config() -> JobConfig {
    let mut config = weir_protocol::testing::config("test", "memory://t");
    (config.max_parallelism, config.task_slots, config.state.deltas_per_base) = (16, 3, 4);
    config
}

/// For one graph: some multiply their rows a good deal, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A worker that subtasks can be placed on, with the address of its exchange.
type Place = (Arc<Exchange>, String);

struct Running {
    slots: Vec<SlotHandle>,
    /// Workers on which anything runs.
    workers: usize,
    events: mpsc::UnboundedReceiver<SlotEvent>,
    encoded: mpsc::UnboundedReceiver<EncodedOrNot>,
}

impl Running {
    fn tell(&self, command: Command) {
        self.slots.iter().for_each(|s| s.tell(command));
    }

    /// Waits until all workers have their part of a checkpoint.
    async fn cut(&mut self, id: u64) {
        for _ in 0..self.workers {
            let encoded = self.encoded.recv().await.unwrap().map_err(|e| e.1).unwrap();
            assert_eq!(encoded.id, CheckpointId(id));
        }
    }
}

/// Starts a job on some workers; on one without an exchange if there are none.
fn start(
    job: Job,
    stamp: &Stamp,
    random: &SeededRandom,
    places: &[Place],
    io: &tokio::runtime::Handle,
) -> Running {
    let (worker, events) = mpsc::unbounded_channel();
    let (output, encoded) = mpsc::unbounded_channel();
    let config = Arc::new(config());
    let clock = Arc::new(SystemClock::default());
    let any = |_| WorkerId(random.next_u64() % places.len().max(1) as u64);
    let placement: Vec<_> = job.graph.subtasks().map(|s| (s, any(s), s.index)).collect();
    let address = |(at, place): (usize, &Place)| (WorkerId(at as u64), place.1.clone());
    let peers: Vec<_> = places.iter().enumerate().map(address).collect();
    let mut running = Running { slots: Vec::new(), workers: 0, events, encoded };
    for me in (0..places.len().max(1)).map(|n| WorkerId(n as u64)) {
        let placed: Vec<_> = placement.iter().filter(|p| p.1 == me).map(|p| (p.0, p.2)).collect();
        if placed.is_empty() {
            continue;
        }
        running.workers += 1;
        let (encoder, input) = std_mpsc::channel();
        let sizes = Sizes::of(1 << 30);
        let waiting = Waiting::new(sizes.frozen);
        let slot_events = Events { worker: worker.clone(), encoder, waiting: waiting.clone() };
        let ranges = placed.iter().map(|(id, _)| (*id, KeyGroupRange { start: 0, end: 0 })).collect();
        let exchange = places.get(me.0 as usize).map(|p| p.0.clone());
        let deployment = Deployment {
            job: Arc::new(job.clone()),
            config: config.clone(),
            stamp: stamp.clone(),
            placed,
            routes: Routes::new(exchange, me, &placement, &peers),
            restored: Arc::new(Restored::fresh()),
            queue_bytes: 1,
            clock: clock.clone(),
            io: io.clone(),
            troubles: Troubles::default(),
        };
        let (slots, _) = deployment.slots(&slot_events).unwrap();
        let wakers = slots.iter().map(|(_, w, _)| w.clone()).collect();
        let room = Arc::new(tokio::sync::Semaphore::new(1 << 20));
        let (output, io) = (output.clone(), io.clone());
        let encoder = Encoder { ranges, input, waiting, wakers, output, sizes, room, io };
        std::thread::spawn(move || encoder.run());
        let start =
            |(n, w, build)| SlotHandle::start(n, w, clock.clone(), slot_events.clone(), build).unwrap();
        running.slots.extend(slots.into_iter().map(start));
    }
    running
}

fn barrier(id: u64, mode: CheckpointMode, completed: Option<CheckpointId>) -> Barrier {
    Barrier { id: CheckpointId(id), kind: CheckpointKind::Periodic, mode, completed, triggered_us: 0 }
}

async fn flow(
    seed: u64,
    execution: u64,
    shape: Option<&Shape>,
    places: &[Place],
    io: &tokio::runtime::Handle,
) {
    let random = SeededRandom::new(seed);
    let seen = Arc::new(Seen::default());
    let (job, expected) = random_job(&random, &seen, shape);
    let sources: usize = job.graph.vertices.iter().filter(|v| v.source).map(|v| v.parallelism as usize).sum();
    let mode = [CheckpointMode::ExactlyOnce, CheckpointMode::AtLeastOnce][(random.next_u64() % 2) as usize];
    let stamp = Stamp { job: config().uid, attempt: Attempt(1), execution: Execution(execution) };
    let mut running = start(job, &stamp, &random, places, io);
    running.tell(Command::Admit);
    // Barriers in the middle of the rows, one after the other.
    for id in 1..=3 {
        let completed = (id > 1).then(|| CheckpointId(id - 1));
        running.tell(Command::Trigger(barrier(id, mode, completed)));
        running.cut(id).await;
    }
    let mut exhausted = 0;
    while exhausted < sources {
        match running.events.recv().await.unwrap() {
            SlotEvent::Exhausted(_) => exhausted += 1,
            SlotEvent::Opened | SlotEvent::Prepared { .. } => {}
            SlotEvent::Failed(_, failure) => panic!("{failure}"),
        }
    }
    running.tell(Command::Trigger(barrier(4, mode, None)));
    running.cut(4).await;
    assert_eq!(seen.sunk.load(Ordering::Relaxed), expected, "rows at the sinks");
    for (id, (given, sunk)) in &*seen.cuts.lock().unwrap() {
        match mode {
            CheckpointMode::ExactlyOnce => assert_eq!(given, sunk, "rows before barrier {id}"),
            CheckpointMode::AtLeastOnce => {
                assert!(given <= sunk, "rows before barrier {id}: {given}, {sunk}")
            }
        }
    }
    running.tell(Command::Stop);
    running.slots.iter_mut().for_each(SlotHandle::join);
}

/// `WEIR_SEED=k` replays one seed, `WEIR_SEEDS=n` runs that many.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    number("WEIR_SEED").map_or(0..number("WEIR_SEEDS").unwrap_or(usual), |k| k..k + 1)
}

async fn flows(usual: u64, test: &str, places: impl Fn(u64) -> Vec<Place>) {
    let io = tokio::runtime::Handle::current();
    for (nth, seed) in seeds(usual).enumerate() {
        let places = places(seed);
        let flow = flow(seed, nth as u64 + 1, None, &places, &io);
        let done = tokio::time::timeout(PATIENCE, flow).await;
        assert!(done.is_ok(), "stuck; replay with WEIR_SEED={seed} cargo test --workspace --lib {test}");
    }
}

#[tokio::test]
async fn no_topology_of_up_to_six_vertices_deadlocks_on_queues_with_room_for_one_input() {
    flows(300, "deadlocks_on_queues", |_| Vec::new()).await;
}

#[tokio::test]
async fn no_shape_of_up_to_six_vertices_deadlocks_on_queues_with_room_for_one_input() {
    let io = tokio::runtime::Handle::current();
    for (nth, shape) in (2..=6).flat_map(shapes).enumerate() {
        let flow = flow(nth as u64, nth as u64 + 1, Some(&shape), &[], &io);
        assert!(tokio::time::timeout(PATIENCE, flow).await.is_ok(), "stuck: {shape:?}, seed {nth}");
    }
}

/// Two or three workers; connections stay from one seed to the next.
async fn over(transport: Transport, usual: u64, test: &str) {
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(exchange(&transport, &config().uid).await);
    }
    flows(usual, test, |seed| workers[..2 + (seed % 2) as usize].to_vec()).await;
    for (worker, _) in &workers {
        let counters = worker.counters();
        assert_eq!((counters.malformed_frames, counters.lost_connections), (0, 0), "{counters:?}");
        assert!(counters.connections <= 4, "connections are used again: {counters:?}");
    }
}

#[tokio::test]
async fn no_topology_deadlocks_over_connections_in_plaintext() {
    over(Transport::Plaintext, 200, "over_connections_in_plaintext").await;
}

#[tokio::test]
async fn no_topology_deadlocks_over_tls() {
    let (_folder, transport) = tls(config().uid.as_str());
    over(transport, 100, "over_tls").await;
}
