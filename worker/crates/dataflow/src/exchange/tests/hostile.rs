//! A thousand connections that say what no honest peer says, beside one that is honest.

use weir_runtime::{Random, SeededRandom};

use super::setup::*;
use crate::exchange::ExchangeLimits;
use crate::exchange::frame::{HEADER, Kind};
use crate::queue::Message;
use tokio::io::AsyncWriteExt;

const ATTACKS: usize = 1_000;
/// Bytes of a queue.
const LIMIT: usize = 4_096;

/// What an attack must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Refused,
    Malformed,
    Stale,
    /// Cut off; or damaged in a place that does not matter.
    Any,
}

async fn attack(address: &str, edge: u32, random: &SeededRandom) -> Outcome {
    let pick = |n: usize| (random.next_u64() % n as u64) as usize;
    let noise = |n: usize| (0..n).map(|_| random.next_u64() as u8).collect::<Vec<_>>();
    if pick(12) == 0 {
        let mut stream = Raw::connect(address).await;
        let mut bytes = noise(9 + pick(100));
        bytes[0] = b'G';
        let _ = stream.write_all(&bytes).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        return Outcome::Refused;
    }
    let mut raw = Raw::greet(address, &stamp(1), edge).await;
    raw.open().await;
    let good = raw.rows(&rows(0..pick(50) as i64));
    // The good one may be left out.
    raw.sequence = 1;
    let (bytes, outcome) = match pick(13) {
        // Noise where a header should be.
        0 => {
            let mut bytes = noise(HEADER);
            bytes[0] = 9 + pick(200) as u8;
            (bytes, Outcome::Malformed)
        }
        // A payload of four gigabytes.
        1 => {
            let mut bytes = good;
            bytes[4..8].fill(0xff);
            (bytes, Outcome::Malformed)
        }
        // The same frame twice.
        2 => ([&good[..], &good].concat(), Outcome::Malformed),
        // A frame left out.
        3 => {
            raw.sequence += 1;
            (raw.frame(Kind::Idle, &[], 0), Outcome::Malformed)
        }
        // More than the queue may hold.
        4 => {
            let mut bytes = good;
            raw.sequence = 2;
            for _ in 0..5 {
                bytes.extend(raw.rows(&rows(0..1_000)));
            }
            (bytes, Outcome::Malformed)
        }
        // For a subtask that is not here.
        5 => {
            raw.channel.to = 1 + pick(1 << 20) as u32;
            (raw.frame(Kind::Idle, &[], 0), Outcome::Malformed)
        }
        // On the channel of the honest one.
        6 => {
            raw.channel.edge = 0;
            raw.sequence = pick(3) as u64;
            (raw.rows(&rows([666])), Outcome::Malformed)
        }
        // What goes the other way.
        7 => (raw.frame(Kind::Grant, &[1; 8], 0), Outcome::Malformed),
        // A barrier that is none.
        8 => (raw.frame(Kind::Barrier, &[0xff; 28], 0), Outcome::Malformed),
        // Noise where rows should be.
        9 => {
            let bytes = noise(8 * (1 + pick(100)));
            (raw.frame(Kind::Rows, &bytes, 1 + pick(bytes.len())), Outcome::Malformed)
        }
        // Of an older deployment.
        10 => {
            raw.deployed.execution.0 = 0;
            (raw.rows(&rows([666])), Outcome::Stale)
        }
        // Cut off.
        11 => (good[..pick(good.len())].to_vec(), Outcome::Any),
        // A bit that fell over.
        _ => {
            let mut bytes = good;
            let at = pick(bytes.len());
            bytes[at] ^= 1 << pick(8);
            (bytes, Outcome::Any)
        }
    };
    raw.say(&bytes).await;
    if outcome == Outcome::Malformed {
        raw.thrown_out().await;
    }
    outcome
}

/// `WEIR_SEED=k` replays another sequence.
#[tokio::test]
async fn a_thousand_hostile_connections_harm_nobody() {
    let seed = std::env::var("WEIR_SEED").ok().and_then(|v| v.parse().ok()).unwrap_or(1);
    println!("WEIR_SEED={seed}");
    let random = SeededRandom::new(seed);
    let ping_every = std::time::Duration::from_millis(50);
    let limits = ExchangeLimits { frame_bytes: 1 << 20, ping_every, ..ExchangeLimits::default() };
    let (here, there) = (place(limits).await, place(limits).await);
    let (receivers, _told) = receive(&there.0, &stamp(1), 1 + ATTACKS, LIMIT);
    let (sender, mut lost) = send(&here.0, &there.1, &stamp(1), &Default::default());
    let mut seen = [0_u64; 3];
    for edge in 1..=ATTACKS {
        match attack(&there.1, edge as u32, &random).await {
            Outcome::Refused => seen[0] += 1,
            Outcome::Malformed => seen[1] += 1,
            Outcome::Stale => seen[2] += 1,
            Outcome::Any => {}
        }
        // The honest one goes on.
        sender.push(Message::Chunk(rows([edge as i64])));
        assert_eq!(numbers(&popped(&receivers[0]).await), [edge as i64]);
    }
    let enough = |counted: [u64; 3]| counted.iter().zip(seen).all(|(counted, seen)| *counted >= seen);
    let counted = || {
        let counters = there.0.counters();
        [counters.refused_connections, counters.malformed_frames, counters.stale_frames]
    };
    until(|| enough(counted()).then_some(())).await;
    assert_eq!(counted()[0], seen[0], "{:?}", there.0.counters());
    // All of them were let go.
    until(|| (there.0.counters().connections == 1).then_some(())).await;
    assert!(lost.try_recv().is_err());
    println!("{:?}", there.0.counters());
}
