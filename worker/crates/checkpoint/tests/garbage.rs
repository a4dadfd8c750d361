//! Garbage collection over random lives of a job: nothing that is needed goes (G1, F7), what is garbage stays
//! garbage (G2) and goes in the end (G3).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a broken assumption ends the test"
)]

mod common;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use common::{Object, claim, complete, object};
use weir_checkpoint::gc::{Plan, Retention, Step, Survey, Sweep, plan};
use weir_checkpoint::manifest::verify_checkpoint;
use weir_checkpoint::store::{MemoryStore, Payload, Store};
use weir_checkpoint::{Body, Journal, JournalView, layout};
use weir_protocol::{Attempt, CheckpointId};
use weir_runtime::{Random, SeededRandom};

const KEEP: Retention = Retention { keep: 2, expiration: Duration::ZERO };

struct Life {
    store: Arc<dyn Store>,
    random: SeededRandom,
    journal: Journal,
    /// What the next checkpoint may refer to: the objects of the newest completed one.
    base: Vec<Object>,
    next: CheckpointId,
    survey: Survey,
    /// Plans of any age: a collector may sleep in the middle of its work.
    plans: VecDeque<Sweep>,
}

async fn round(life: &mut Life) {
    let view = life.journal.view().clone();
    let inventory = life.survey.take(life.store.as_ref(), &view).await.unwrap();
    let plan = plan(&view, &inventory, KEEP, &BTreeSet::new(), u64::MAX);
    for proposed in plan.append.clone() {
        life.journal.append(proposed.body).await.unwrap();
    }
    life.plans.push_back(Sweep::new(plan));
}

async fn sweep_some(life: &mut Life, steps: u64) {
    for _ in 0..steps {
        let Some(mut sweep) = life.plans.pop_front() else { return };
        match sweep.step(life.store.as_ref(), &life.random, 2).await.unwrap() {
            Step::Done => {}
            Step::Boundary(slot) => {
                life.journal.advance(slot);
                life.plans.push_back(sweep);
            }
            Step::Deleted(_) => life.plans.push_back(sweep),
        }
    }
}

async fn check(life: &Life, seed: u64) {
    let read = JournalView::read(life.store.as_ref()).await.expect("an unbroken journal");
    for checkpoint in read.view.checkpoints() {
        let problems = verify_checkpoint(life.store.as_ref(), &checkpoint.manifest).await;
        assert!(problems.is_empty(), "seed {seed}: G1: checkpoint {}: {problems:?}", checkpoint.id);
    }
    assert_eq!(read.view.restore(), life.journal.view().restore(), "seed {seed}");
}

#[tokio::test]
async fn g1_g2_g3_f7_nothing_needed_goes_and_all_garbage_does() {
    let only = std::env::var("WEIR_SEED").ok().and_then(|v| v.parse().ok());
    for seed in only.map_or(0..60, |seed: u64| seed..seed + 1) {
        println!("replay: WEIR_SEED={seed} cargo test --workspace --test garbage");
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        store.put("savepoints/mine/x", Payload::from(vec![1])).await.unwrap();
        let random = SeededRandom::new(seed);
        let (journal, _) = claim(&store, seed).await;
        let mut life = Life {
            store,
            random,
            journal,
            base: Vec::new(),
            next: CheckpointId(1),
            survey: Survey::default(),
            plans: VecDeque::new(),
        };
        for _ in 0..80 {
            act(&mut life).await;
            check(&life, seed).await;
        }
        finish(&mut life, seed).await;
    }
}

async fn act(life: &mut Life) {
    let (attempt, id) = (life.journal.attempt(), life.next);
    let store = Arc::clone(&life.store);
    match life.random.next_u64() % 12 {
        0..=3 => {
            let mut objects = life.base.clone();
            // Some old objects are given up, new ones come.
            objects.retain(|_| !life.random.next_u64().is_multiple_of(3));
            objects.push(object(store.as_ref(), &life.random, attempt, id, 2).await);
            complete(store.as_ref(), &life.random, &mut life.journal, id, objects.clone()).await;
            life.base = objects;
            life.next = id.next();
        }
        // Aborted: its files stay, its number is gone.
        4 => {
            object(store.as_ref(), &life.random, attempt, id, 2).await;
            life.next = id.next();
        }
        // A zombie uploads.
        5 if attempt > Attempt(1) => {
            object(store.as_ref(), &life.random, Attempt(attempt.0 - 1), id, 2).await;
        }
        6 => {
            life.journal = claim(&life.store, life.random.next_u64()).await.0;
            life.next = life.next.max(life.journal.view().next_checkpoint());
        }
        7 => {
            if let Some(first) = life.journal.view().checkpoints().first() {
                let pin = Body::Pin { name: "p".into(), id: first.id };
                life.journal.append(pin).await.unwrap();
            }
        }
        8 => {
            life.journal.append(Body::Unpin { name: "p".into() }).await.unwrap();
        }
        9 => round(life).await,
        _ => {
            let steps = life.random.next_u64() % 6;
            sweep_some(life, steps).await;
        }
    }
}

/// With no more work, a few rounds leave exactly what is retained.
async fn finish(life: &mut Life, seed: u64) {
    life.journal.append(Body::Unpin { name: "p".into() }).await.unwrap();
    life.journal = claim(&life.store, life.random.next_u64()).await.0;
    for _ in 0..4 {
        round(life).await;
        sweep_some(life, 10_000).await;
    }
    check(life, seed).await;
    let live = life.journal.view().checkpoints();
    assert!(live.len() <= 2, "seed {seed}: {} are kept", live.len());
    let mut needed = BTreeSet::new();
    for checkpoint in &live {
        let read = weir_checkpoint::manifest::read_manifest(life.store.as_ref(), &checkpoint.manifest).await;
        needed.extend(read.unwrap().objects.into_iter().map(|o| o.key));
        needed.insert(checkpoint.manifest.key.clone());
    }
    let mut there = BTreeSet::new();
    for folder in [layout::DATA, layout::MANIFESTS] {
        there.extend(life.store.list(folder).await.unwrap().into_iter().map(|o| o.key));
    }
    assert_eq!(there, needed, "seed {seed}: G3");
    let records = life.store.list(layout::JOURNAL).await.unwrap().len();
    assert_eq!(records, life.journal.view().records().len(), "seed {seed}: records behind the boundary go");
    assert_eq!(life.store.head("savepoints/mine/x").await, Ok(Some(1)), "savepoints are their user's");
}

#[tokio::test]
async fn an_unreadable_manifest_stops_all_deletion_of_files() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let random = SeededRandom::new(1);
    let (mut journal, _) = claim(&store, 1).await;
    for id in 1..=3 {
        let objects = vec![object(store.as_ref(), &random, Attempt(1), CheckpointId(id), 2).await];
        complete(store.as_ref(), &random, &mut journal, CheckpointId(id), objects).await;
    }
    let (mut journal, _) = claim(&store, 2).await;
    journal.append(Body::Drop { ids: vec![CheckpointId(1)] }).await.unwrap();
    let view = journal.view().clone();
    let planned = async || -> Plan {
        let inventory = Survey::default().take(store.as_ref(), &view).await.unwrap();
        plan(&view, &inventory, KEEP, &BTreeSet::new(), u64::MAX)
    };
    let reasons = planned().await;
    assert_eq!((reasons.manifests.len(), reasons.data.len()), (1, 1));
    assert!(
        reasons.data[0].reason.contains("attempt 1 is fenced by attempt 2"),
        "{}",
        reasons.data[0].reason
    );
    store.delete(&[view.checkpoints()[0].manifest.key.clone()]).await.unwrap();
    let blocked = planned().await;
    assert!(blocked.manifests.is_empty() && blocked.data.is_empty());
    assert!(blocked.blocked.is_some_and(|why| why.contains("checkpoint 2") && why.contains("is not there")));
}
