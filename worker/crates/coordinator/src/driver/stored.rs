//! Manifests and objects: each a task that tries again while the store gives no clear answer.

use std::sync::Arc;
use std::time::Duration;

use weir_checkpoint::manifest::{Problem, WriteError, check_present, read_manifest, write_manifest};
use weir_checkpoint::{Manifest, Store};
use weir_protocol::{CheckpointId, Failure, FailureKind, ManifestRef, ObjectRef};
use weir_runtime::Random;

use super::Answers;
use crate::checkpoint::prepared;
use crate::event::{Event, Loaded};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Reads the manifest of a restore point; waits for the store as long as it takes.
pub(super) fn load(store: Arc<dyn Store>, id: CheckpointId, manifest: ManifestRef, answers: Answers) {
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        let result = loop {
            match read_manifest(store.as_ref(), &manifest).await {
                Err(problem) if problem.is_store() => {
                    tell(&answers, Event::StoreTrouble(Some(problem.into())));
                    wait(&mut pause).await;
                }
                result => break result,
            }
        };
        tell(&answers, Event::StoreTrouble(None));
        let loaded = |manifest: Manifest| {
            Box::new(Loaded {
                max_parallelism: manifest.max_parallelism,
                parallelism: manifest.parallelism,
                sinks: prepared(&manifest),
            })
        };
        tell(&answers, Event::ManifestLoaded { id, result: result.map(loaded).map_err(Failure::from) });
    });
}

/// Writes a manifest, under a fresh name at each try.
pub(super) fn write(
    store: Arc<dyn Store>,
    random: Arc<dyn Random>,
    manifest: Manifest,
    patience: Duration,
    answers: Answers,
) {
    tokio::spawn(async move {
        let (mut pause, mut left) = (FIRST_PAUSE, patience);
        let result = loop {
            match write_manifest(store.as_ref(), random.as_ref(), &manifest).await {
                Err(WriteError::Store(error)) if error.is_unknown() && !left.is_zero() => {
                    left = left.saturating_sub(pause);
                    wait(&mut pause).await;
                }
                result => break result,
            }
        };
        let result = result.map_err(|error| match error {
            WriteError::Codec(why) => Failure::new(FailureKind::Bug, why.to_string()),
            WriteError::Store(error) => Failure::new(FailureKind::Store, error.to_string()),
        });
        tell(&answers, Event::ManifestWritten { id: manifest.id, result });
    });
}

/// Looks whether objects are there.
pub(super) fn verify(
    store: Arc<dyn Store>,
    id: CheckpointId,
    objects: Vec<ObjectRef>,
    patience: Duration,
    answers: Answers,
) {
    tokio::spawn(async move {
        let (mut pause, mut left) = (FIRST_PAUSE, patience);
        let problems = loop {
            let problems = check_present(store.as_ref(), &objects).await;
            let only_store = !problems.is_empty() && problems.iter().all(Problem::is_store);
            if !only_store || left.is_zero() {
                break problems;
            }
            left = left.saturating_sub(pause);
            wait(&mut pause).await;
        };
        let result = problems.into_iter().next().map_or(Ok(()), |problem| Err(problem.into()));
        tell(&answers, Event::ObjectsVerified { id, result });
    });
}

/// Puts an answer where the coordinator finds it; one that has ended needs none.
pub(super) fn tell(answers: &Answers, event: Event) {
    let _ = answers.send(event);
}

async fn wait(pause: &mut Duration) {
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}
