//! Who is there: decides who is taken, under which number, and whom it replaces. Pure.

use std::collections::BTreeMap;

use weir_protocol::{CONTROL_VERSIONS, JobUid, Registration, WorkerId};

use crate::frame::Hello;
use crate::wire::{self, WireError};

/// A worker that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) worker: WorkerId,
    /// The version that is spoken with it.
    pub(super) version: u32,
    pub(super) registration: Registration,
    /// The number under which the same process is still there.
    pub(super) replaces: Option<WorkerId>,
}

/// Why a worker is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error(
        "this coordinator speaks the versions {} to {} of control messages, the worker {oldest} to {newest}: \
         let both be of neighbouring releases",
        CONTROL_VERSIONS.0,
        CONTROL_VERSIONS.1
    )]
    Version { oldest: u32, newest: u32 },
    #[error("this is the coordinator of job {job}, the worker belongs to job {other}")]
    Job { job: JobUid, other: String },
    #[error("the registration can't be taken: {0}")]
    Registration(WireError),
}

/// The workers of one coordinator.
#[derive(Debug)]
pub(super) struct Roster {
    job: JobUid,
    next: u64,
    /// Their processes.
    there: BTreeMap<WorkerId, String>,
}

impl Roster {
    pub(super) fn new(job: JobUid, first: u64) -> Self {
        Self { job, next: first.max(1), there: BTreeMap::new() }
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Takes a worker or refuses it. The one that it replaces leaves.
    pub(super) fn admit(&mut self, hello: &Hello) -> Result<Admitted, Refused> {
        let version = hello.newest.min(CONTROL_VERSIONS.1);
        if version < hello.oldest.max(CONTROL_VERSIONS.0) {
            return Err(Refused::Version { oldest: hello.oldest, newest: hello.newest });
        }
        let of_this_job = |job: &str| match job == self.job.as_str() {
            true => Ok(()),
            false => Err(Refused::Job { job: self.job.clone(), other: job.to_owned() }),
        };
        if !hello.job.is_empty() {
            of_this_job(&hello.job)?;
        }
        let registration = wire::registration(&hello.registration).map_err(Refused::Registration)?;
        if let Some(running) = &registration.running {
            of_this_job(running.stamp.job.as_str())?;
            of_this_job(running.deployed.job.as_str())?;
        }
        let process = &registration.process;
        let replaces = self.there.iter().find(|(_, p)| *p == process).map(|(worker, _)| *worker);
        if let Some(old) = replaces {
            self.there.remove(&old);
        }
        let worker = WorkerId(self.next);
        self.next += 1;
        self.there.insert(worker, process.clone());
        Ok(Admitted { worker, version, registration, replaces })
    }

    /// A worker has gone; false if it was not there.
    pub(super) fn leave(&mut self, worker: WorkerId) -> bool {
        self.there.remove(&worker).is_some()
    }

    pub(super) fn has(&self, worker: WorkerId) -> bool {
        self.there.contains_key(&worker)
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::{Attempt, CheckpointId, Execution, RunningExecution, Stamp};

    use super::*;

    fn registration(process: &str) -> Registration {
        Registration {
            process: process.to_owned(),
            name: "a host".to_owned(),
            slots: 1,
            data_address: None,
            running: None,
            draining: false,
        }
    }

    fn hello_of(registration: &Registration) -> Hello {
        let (oldest, newest) = CONTROL_VERSIONS;
        let registration = wire::to_json(registration).expect("JSON");
        Hello { oldest, newest, job: String::new(), registration }
    }

    fn hello(process: &str) -> Hello {
        hello_of(&registration(process))
    }

    fn roster() -> Roster {
        Roster::new(JobUid::new("bids").expect("a uid"), 1)
    }

    #[test]
    fn numbers_rise_and_are_never_used_again() {
        let mut roster = roster();
        let mut number = |hello: &Hello| roster.admit(hello).map(|a| (a.worker.0, a.replaces.map(|w| w.0)));
        assert_eq!(number(&hello("a")), Ok((1, None)));
        assert_eq!(number(&hello("b")), Ok((2, None)));
        assert_eq!(number(&hello("a")), Ok((3, Some(1))), "the same process over another connection");
        assert_eq!(number(&hello("a")), Ok((4, Some(3))));
        assert!(roster.leave(WorkerId(4)));
        assert!(!roster.leave(WorkerId(1)), "it was replaced");
        assert_eq!(roster.admit(&hello("a")).map(|a| (a.worker.0, a.replaces)), Ok((5, None)));
    }

    #[test]
    fn versions_must_meet() {
        let (oldest, newest) = CONTROL_VERSIONS;
        let admit = |oldest, newest| {
            roster()
                .admit(&Hello { oldest, newest, ..hello("a") })
                .map(|a| a.version)
                .map_err(|e| e.to_string())
        };
        assert_eq!(admit(oldest, newest + 9), Ok(newest), "the newest that both speak");
        assert_eq!(admit(0, oldest), Ok(oldest));
        for (from, to) in [(newest + 1, newest + 2), (0, oldest - 1), (newest, oldest - 1)] {
            let error = admit(from, to).expect_err("refused");
            assert!(error.contains(&format!("the worker {from} to {to}")), "{error}");
        }
    }

    #[test]
    fn a_worker_of_another_job_is_refused_and_takes_no_number() {
        let mut roster = roster();
        let other = Hello { job: "asks".to_owned(), ..hello("a") };
        let error = roster.admit(&other).expect_err("refused").to_string();
        assert_eq!(error, "this is the coordinator of job bids, the worker belongs to job asks");
        let stamp =
            Stamp { job: JobUid::new("asks").expect("a uid"), attempt: Attempt(1), execution: Execution(1) };
        let running = RunningExecution {
            stamp: stamp.clone(),
            deployed: stamp,
            parallelism: 1,
            placed: Vec::new(),
            exhausted: Vec::new(),
            completed: None,
            triggered: CheckpointId(0),
            acknowledged: None,
        };
        let busy = Registration { running: Some(running), ..registration("a") };
        assert!(matches!(roster.admit(&hello_of(&busy)), Err(Refused::Job { .. })));
        let own = Hello { job: "bids".to_owned(), ..hello("a") };
        assert_eq!(roster.admit(&own).map(|a| a.worker.0), Ok(1));
    }
}
