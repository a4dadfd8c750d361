//! What the operator keeps in its memory to spare the API server: nothing depends on it, and all of it is lost with
//! the process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use weir_crds::Problem;

use super::change::digest;
use super::desired::Object;
use crate::cluster::ClusterError;

/// How long an object that was applied is taken to be as it was, at least.
const APPLIED: Duration = Duration::from_secs(300);
/// How often numbers that change all the time are reported, at most.
const REPORTED: Duration = Duration::from_secs(30);
/// Both are less frequent where there are many jobs, so that at rest no more is asked of the API server than this
/// allows: some 25 writes of statuses and some 25 objects in a second.
const APPLIED_PER_JOB: Duration = Duration::from_millis(240);
const REPORTED_PER_JOB: Duration = Duration::from_millis(40);
/// How long an answer about pods that are not permitted counts.
const TRIED: Duration = Duration::from_secs(60);

/// Per job.
#[derive(Debug, Default)]
struct Job {
    applied: HashMap<String, (String, Timestamp)>,
    reported: Option<Timestamp>,
    refused: Option<String>,
    tried: Option<(String, Timestamp, Result<(), Vec<Problem>>)>,
    failures: u32,
}

/// All jobs, by uid.
#[derive(Debug, Default)]
pub(super) struct Memo(Mutex<HashMap<String, Job>>);

impl Memo {
    fn jobs(&self) -> MutexGuard<'_, HashMap<String, Job>> {
        // A thread that panicked leaves nothing half done in a map of values.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, uid: &str, change: impl FnOnce(&mut Job) -> T) -> T {
        change(self.jobs().entry(uid.to_owned()).or_default())
    }

    pub(super) fn drop_job(&self, uid: &str) {
        self.jobs().remove(uid);
    }

    /// Whether an object that was applied then needs not be applied again.
    pub(super) fn still_counts(&self, uid: &str, applied: Timestamp, now: Timestamp) -> bool {
        is_within(applied, now, self.spread(uid, APPLIED, APPLIED_PER_JOB))
    }

    /// When an object was last applied as it is to be.
    pub(super) fn applied(&self, uid: &str, object: &Object) -> Option<Timestamp> {
        let (name, digest) = fingerprint(object);
        let jobs = self.jobs();
        let (known, at) = jobs.get(uid)?.applied.get(&name)?;
        (*known == digest).then_some(*at)
    }

    /// What is done for each job now and then must not be done for all at a time, which is when the operator was
    /// started: the limit, up to a half longer, as the uid has it.
    fn spread(&self, uid: &str, least: Duration, per_job: Duration) -> Duration {
        let jobs = u32::try_from(self.jobs().len()).unwrap_or(u32::MAX);
        let place = blake3::hash(uid.as_bytes()).as_bytes()[0];
        least.max(per_job.saturating_mul(jobs)).mul_f64(1.0 + f64::from(place) / 512.0)
    }

    pub(super) fn has_applied(&self, uid: &str, object: &Object, now: Timestamp) {
        let (name, digest) = fingerprint(object);
        self.with(uid, |job| job.applied.insert(name, (digest, now)));
    }

    pub(super) fn has_deleted(&self, uid: &str, kind: &str, name: &str) {
        self.with(uid, |job| job.applied.remove(&object_name(kind, name)));
    }

    pub(super) fn report_is_due(&self, uid: &str, now: Timestamp) -> bool {
        let limit = self.spread(uid, REPORTED, REPORTED_PER_JOB);
        self.jobs().get(uid).and_then(|job| job.reported).is_none_or(|at| !is_within(at, now, limit))
    }

    pub(super) fn has_reported(&self, uid: &str, now: Timestamp) {
        self.with(uid, |job| job.reported = Some(now));
    }

    pub(super) fn refused(&self, uid: &str) -> Option<String> {
        self.jobs().get(uid).and_then(|job| job.refused.clone())
    }

    /// What became of the steps: only what the server refuses is told to people.
    pub(super) fn outcome(&self, uid: &str, outcome: &Result<(), ClusterError>) {
        self.with(uid, |job| match outcome {
            Ok(()) => (job.refused, job.failures) = (None, 0),
            Err(error @ ClusterError::Refused { .. }) => job.refused = Some(error.to_string()),
            Err(_) => {}
        });
    }

    pub(super) fn tried(&self, uid: &str, version: &str, now: Timestamp) -> Option<Result<(), Vec<Problem>>> {
        let jobs = self.jobs();
        let (known, at, answer) = jobs.get(uid)?.tried.as_ref()?;
        // What is permitted stays so; what is not may be by now.
        let counts = answer.is_ok() || is_within(*at, now, TRIED);
        (known == version && counts).then(|| answer.clone())
    }

    pub(super) fn has_tried(
        &self,
        uid: &str,
        version: &str,
        now: Timestamp,
        answer: Result<(), Vec<Problem>>,
    ) {
        self.with(uid, |job| job.tried = Some((version.to_owned(), now, answer)));
    }

    /// How long to wait after one more failure in a row.
    pub(super) fn back_off(&self, uid: &str) -> Duration {
        let failures = self.with(uid, |job| {
            job.failures = job.failures.saturating_add(1);
            job.failures
        });
        Duration::from_millis(500).saturating_mul(1 << failures.min(7)).min(Duration::from_secs(60))
    }
}

fn is_within(at: Timestamp, now: Timestamp, limit: Duration) -> bool {
    Duration::try_from(now.duration_since(at)).is_ok_and(|age| age < limit)
}

fn fingerprint(object: &Object) -> (String, String) {
    let value = match object {
        Object::Service(o) => serde_json::to_value(o),
        Object::ConfigMap(o) => serde_json::to_value(o),
        Object::Secret(o) => serde_json::to_value(o),
        Object::ServiceAccount(o) => serde_json::to_value(o),
        Object::PodDisruptionBudget(o) => serde_json::to_value(o),
        Object::NetworkPolicy(o) => serde_json::to_value(o),
    };
    let name = object.metadata().name.as_deref().unwrap_or_default();
    (object_name(object.kind(), name), digest(&value.unwrap_or_default()))
}

fn object_name(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}
