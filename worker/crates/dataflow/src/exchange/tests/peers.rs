//! Peers that are slow, absent, ahead, behind, or gone.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::setup::*;
use crate::exchange::ExchangeLimits;
use crate::exchange::frame::Kind;
use crate::queue::Message;
use crate::{Barrier, Watermark};
use weir_protocol::{CheckpointId, CheckpointKind, CheckpointMode, FailureKind};

fn limits() -> ExchangeLimits {
    ExchangeLimits::default()
}

fn barrier() -> Barrier {
    Barrier {
        id: CheckpointId(3),
        kind: CheckpointKind::Changes,
        mode: CheckpointMode::ExactlyOnce,
        completed: Some(CheckpointId(2)),
        triggered_us: 9,
    }
}

#[tokio::test]
async fn rows_wait_for_credit_and_barriers_keep_their_place_behind_them() {
    let (here, there) = (place(limits()).await, place(limits()).await);
    let waker = Default::default();
    let (receivers, _told) = receive(&there.0, &stamp(1), 1, 1);
    let (sender, _told) = send(&here.0, &there.1, &stamp(1), &waker);
    until(|| sender.ready().then_some(())).await;
    assert!(waker.take(), "the slot is woken when there is credit");
    sender.push(Message::Chunk(rows([1, 2])));
    assert!(!sender.ready());
    sender.push(Message::Chunk(rows([3])));
    sender.push(Message::Watermark(Watermark(5)));
    sender.push(Message::Idle);
    sender.push(Message::Active);
    sender.push(Message::Barrier(barrier()));
    // One frame fills the queue; the rest waits at the sender.
    assert_eq!(numbers(&popped(&receivers[0]).await), [1, 2]);
    assert!(!sender.ready());
    assert_eq!(numbers(&popped(&receivers[0]).await), [3]);
    assert!(matches!(popped(&receivers[0]).await, Message::Watermark(Watermark(5))));
    assert!(matches!(popped(&receivers[0]).await, Message::Idle));
    assert!(matches!(popped(&receivers[0]).await, Message::Active));
    assert!(matches!(popped(&receivers[0]).await, Message::Barrier(b) if b == barrier()));
    until(|| sender.ready().then_some(())).await;
}

#[tokio::test]
async fn a_batch_larger_than_a_frame_travels_in_pieces_and_a_row_that_is_larger_fails_the_job() {
    let small = ExchangeLimits { frame_bytes: 4096, ..limits() };
    let (here, there) = (place(small).await, place(small).await);
    let waker = Default::default();
    let (receivers, _told) = receive(&there.0, &stamp(1), 1, 1 << 20);
    let (sender, mut told) = send(&here.0, &there.1, &stamp(1), &waker);
    sender.push(Message::Chunk(rows(0..10_000)));
    let mut all = Vec::new();
    while all.len() < 10_000 {
        all.extend(numbers(&popped(&receivers[0]).await));
    }
    assert_eq!(all, (0..10_000).collect::<Vec<_>>());
    assert!(here.0.counters().frames_out >= 20, "{:?}", here.0.counters());

    let tiny = place(ExchangeLimits { frame_bytes: 64, ..limits() }).await;
    let (sender, mut refused) = send(&tiny.0, &there.1, &stamp(1), &waker);
    sender.push(Message::Chunk(rows([1])));
    let failure = refused.recv().await.unwrap();
    assert_eq!(failure.kind, FailureKind::Config);
    assert!(failure.message.contains("a row of"), "{failure}");
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_peer_that_dies_in_the_middle_of_a_frame_fails_the_execution_by_name() {
    let there = place(limits()).await;
    let (receivers, mut told) = receive(&there.0, &stamp(1), 1, 1 << 20);
    let mut raw = Raw::greet(&there.1, &stamp(1), 0).await;
    raw.open().await;
    let frame = raw.rows(&rows(0..100));
    raw.say(&frame[..frame.len() / 2]).await;
    drop(raw);
    let failure = told.recv().await.unwrap();
    assert_eq!(failure.kind, FailureKind::Worker);
    assert!(failure.message.contains("worker 7 at the peer"), "{failure}");
    assert!(receivers[0].pop().is_none(), "half a frame is none");
    assert_eq!(there.0.counters().lost_connections, 1);
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_lost_at_both_ends() {
    let quick = ExchangeLimits { lost_after: Duration::from_millis(100), ..limits() };
    let there = place(quick).await;
    let (_receivers, mut told) = receive(&there.0, &stamp(1), 1, 1 << 20);
    let mut raw = Raw::greet(&there.1, &stamp(1), 0).await;
    raw.open().await;
    let failure = told.recv().await.unwrap();
    assert!(failure.message.contains("nothing was heard"), "{failure}");

    // A listener that takes the connection and says nothing more than it must.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let here = place(quick).await;
    let waker = Default::default();
    let (_sender, mut told) = send(&here.0, &address, &stamp(1), &waker);
    let (mut stream, _) = silent.accept().await.unwrap();
    let mut hello = vec![0; crate::exchange::hello::encode(&uid()).len()];
    stream.read_exact(&mut hello).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &hello[..8]).await.unwrap();
    let failure = told.recv().await.unwrap();
    assert!(failure.message.contains(&format!("worker 8 at {address}")), "{failure}");
    assert!(failure.message.contains("nothing was heard"), "{failure}");
}

#[tokio::test]
async fn peers_that_only_ping_are_not_lost() {
    let quick = ExchangeLimits {
        // Longer than a busy machine stands still.
        lost_after: Duration::from_secs(1),
        ping_every: Duration::from_millis(20),
        ..limits()
    };
    let (here, there) = (place(quick).await, place(quick).await);
    let (receivers, mut lost) = receive(&there.0, &stamp(1), 1, 1 << 20);
    let (sender, mut lost_too) = send(&here.0, &there.1, &stamp(1), &Default::default());
    // Twice as long as silence may last.
    until(|| (there.0.counters().frames_in >= 100).then_some(())).await;
    sender.push(Message::Chunk(rows([1])));
    assert_eq!(numbers(&popped(&receivers[0]).await), [1]);
    assert!(lost.try_recv().is_err() && lost_too.try_recv().is_err());
}

#[tokio::test]
async fn a_peer_that_can_not_be_reached_fails_the_execution_by_name() {
    let here = place(ExchangeLimits { dial: Duration::from_millis(100), ..limits() }).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let (sender, mut told) = send(&here.0, &nobody, &stamp(1), &Default::default());
    let failure = told.recv().await.unwrap();
    assert!(failure.message.contains(&format!("worker 8 at {nobody}")), "{failure}");
    // It never blocks, and says so once.
    sender.push(Message::Chunk(rows([1])));
    assert!(!sender.ready() && told.try_recv().is_err());
}

#[tokio::test]
async fn peers_come_up_in_any_order() {
    let (here, there) = (place(limits()).await, place(limits()).await);
    let (sender, _told) = send(&here.0, &there.1, &stamp(2), &Default::default());
    sender.push(Message::Watermark(Watermark(1)));
    sender.push(Message::Chunk(rows([1])));
    until(|| (there.0.counters().waits == 1).then_some(())).await;
    assert!(!sender.ready());
    let (receivers, _told) = receive(&there.0, &stamp(2), 1, 1 << 20);
    assert!(matches!(popped(&receivers[0]).await, Message::Watermark(Watermark(1))));
    assert_eq!(numbers(&popped(&receivers[0]).await), [1]);
}

#[tokio::test]
async fn a_peer_that_is_ahead_for_too_long_is_let_go() {
    let there = place(ExchangeLimits { wait_for_deployment: Duration::from_millis(50), ..limits() }).await;
    let here = place(limits()).await;
    let (_sender, mut told) = send(&here.0, &there.1, &stamp(2), &Default::default());
    let failure = told.recv().await.unwrap();
    assert!(failure.message.contains("worker 8"), "{failure}");
    assert_eq!(there.0.counters().malformed_frames, 0);
}

#[tokio::test]
async fn frames_of_an_older_deployment_are_dropped_and_the_connection_stays() {
    let (here, there) = (place(limits()).await, place(limits()).await);
    let waker = Default::default();
    let (receivers, mut told) = receive(&there.0, &stamp(1), 1, 1 << 20);
    let (sender, mut told_too) = send(&here.0, &there.1, &stamp(1), &waker);
    sender.push(Message::Chunk(rows([1])));
    popped(&receivers[0]).await;
    // The receiving worker is deployed anew while the sending one, a zombie, goes on.
    drop(receivers);
    let (receivers, mut told_new) = receive(&there.0, &stamp(2), 1, 1 << 20);
    sender.push(Message::Chunk(rows([2])));
    until(|| (there.0.counters().stale_frames == 1).then_some(())).await;
    // Then it hears of it too, and goes on over the same connection.
    drop(sender);
    let (sender, _told) = send(&here.0, &there.1, &stamp(2), &waker);
    sender.push(Message::Chunk(rows([3])));
    assert_eq!(numbers(&popped(&receivers[0]).await), [3]);
    assert_eq!(here.0.counters().connections, 1);
    assert!(told.try_recv().is_err() && told_too.try_recv().is_err() && told_new.try_recv().is_err());
}

#[tokio::test]
async fn a_connection_that_ends_between_two_executions_is_made_again() {
    let here = place(limits()).await;
    let there = place(limits()).await;
    let waker = Default::default();
    let (receivers, _) = receive(&there.0, &stamp(1), 1, 1 << 20);
    let (sender, mut told) = send(&here.0, &there.1, &stamp(1), &waker);
    until(|| sender.ready().then_some(())).await;
    drop((sender, receivers));
    // The worker at that address is replaced by another one.
    let (exchange, address) = there;
    drop(exchange);
    until(|| (here.0.counters().connections == 0).then_some(())).await;
    let listener = TcpListener::bind(&address).await.unwrap();
    let options = crate::ExchangeOptions {
        transport: weir_runtime::tls::Transport::Plaintext,
        job: uid(),
        limits: limits(),
    };
    let exchange = crate::Exchange::start(listener, options);
    let (receivers, _told) = receive(&exchange, &stamp(2), 1, 1 << 20);
    let (sender, _told) = send(&here.0, &address, &stamp(2), &waker);
    sender.push(Message::Chunk(rows([4])));
    assert_eq!(numbers(&popped(&receivers[0]).await), [4]);
    assert!(told.try_recv().is_err(), "nothing ran when it broke");
}

#[tokio::test]
async fn a_process_of_another_job_is_told_so() {
    let there = place(limits()).await;
    let job = weir_protocol::JobUid::new("cold-items").unwrap();
    let transport = weir_runtime::tls::Transport::Plaintext;
    let (other, _) = crate::exchange::testing::exchange(&transport, &job).await;
    let (_sender, mut told) = send(&other, &there.1, &stamp(1), &Default::default());
    let failure = told.recv().await.unwrap();
    assert!(failure.message.contains("another job"), "{failure}");
    assert_eq!(there.0.counters().refused_connections, 1);
}

#[tokio::test]
async fn strangers_are_few_and_do_not_stay() {
    let careful = ExchangeLimits { handshake: Duration::from_millis(100), handshakes: 2, ..limits() };
    let there = place(careful).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(Raw::connect(&there.1).await);
    }
    for mut stream in silent {
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    }
    assert_eq!(there.0.counters().refused_connections, 3);
    let mut raw = Raw::greet(&there.1, &stamp(1), 0).await;
    let (_receivers, _told) = receive(&there.0, &stamp(1), 1, 1);
    raw.open().await;
    // Two connections for one channel: the second one is thrown out.
    let mut second = Raw::greet(&there.1, &stamp(1), 0).await;
    second.say(&control(&stamp(1), Kind::Open, 0)).await;
    second.thrown_out().await;
    assert_eq!(there.0.counters().malformed_frames, 1);
}
