//! Whose lines a process logs: one process works for one job, so what every line has to say is kept once.
//! For people and for search; nothing is decided by it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// What every line says. A number that is 0 is not known (yet).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogIds {
    /// The job's name.
    pub job: String,
    /// The job's uid.
    pub uid: String,
    /// The number of the worker that this process is.
    pub worker: u64,
    /// The coordinator's attempt under which things happen.
    pub attempt: u64,
    /// The execution.
    pub execution: u64,
}

static JOB: RwLock<(String, String)> = RwLock::new((String::new(), String::new()));
static WORKER: AtomicU64 = AtomicU64::new(0);
static ATTEMPT: AtomicU64 = AtomicU64::new(0);
static EXECUTION: AtomicU64 = AtomicU64::new(0);

impl LogIds {
    /// As of now.
    pub fn now() -> Self {
        let (job, uid) = JOB.read().unwrap_or_else(PoisonError::into_inner).clone();
        let [worker, attempt, execution] =
            [&WORKER, &ATTEMPT, &EXECUTION].map(|number| number.load(Ordering::Relaxed));
        Self { job, uid, worker, attempt, execution }
    }

    /// The process works for this job.
    pub fn set_job(name: &str, uid: &str) {
        *JOB.write().unwrap_or_else(PoisonError::into_inner) = (name.to_owned(), uid.to_owned());
    }

    /// The process is this worker.
    pub fn set_worker(worker: u64) {
        WORKER.store(worker, Ordering::Relaxed);
    }

    /// What happens from here on happens under this authority, unless a newer one is known.
    pub fn set_authority(attempt: u64, execution: u64) {
        let known = (ATTEMPT.load(Ordering::Relaxed), EXECUTION.load(Ordering::Relaxed));
        if (attempt, execution) < known {
            return;
        }
        ATTEMPT.store(attempt, Ordering::Relaxed);
        EXECUTION.store(execution, Ordering::Relaxed);
    }
}
