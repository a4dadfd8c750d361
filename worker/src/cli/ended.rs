//! How the end of a job is said, and which exit code it gives.

use weir::process::{Ended, RunError, Signal};
use weir_coordinator::Exit as JobExit;
use weir_protocol::FailureKind;

use super::{Exit, print_error};

/// Says how a job ended, where progress does not show it.
pub(super) fn say(ended: &Ended) -> Exit {
    match &ended.exit {
        JobExit::Finished { .. } => Exit::Done,
        JobExit::AlreadyFinished { .. } => {
            print_error("the job had finished before; --fresh starts it again from nothing\n");
            Exit::Done
        }
        JobExit::Stopped { complete, .. } => {
            if !complete {
                print_error(
                    "warning: the last checkpoint was not completed; what came after it is read again\n",
                );
            }
            match ended.signal {
                Some(signal) => by_signal(signal),
                None => Exit::Interrupted,
            }
        }
        JobExit::Failed(failure) | JobExit::StepBack { failure, .. } => {
            print_error(&format!("error: the job failed: {failure}\n"));
            match failure.kind {
                FailureKind::StateUnreadable | FailureKind::StateIncompatible | FailureKind::SinkDataLost => {
                    Exit::State
                }
                FailureKind::Store => Exit::Storage,
                FailureKind::Config => Exit::Invalid,
                _ => Exit::Failed,
            }
        }
        JobExit::Fenced(how) => {
            print_error(&format!("another process runs this job now, so this one ends: {how}\n"));
            Exit::Fenced
        }
    }
}

/// The code of a process that a signal has ended in good order.
pub(super) fn by_signal(signal: Signal) -> Exit {
    match signal {
        Signal::Terminate => Exit::Terminated,
        Signal::Interrupt => Exit::Interrupted,
    }
}

/// Says why a process did not start.
pub(super) fn not_started(error: &RunError) -> Exit {
    print_error(&format!("error: {error}\n"));
    match error {
        RunError::Store(_) | RunError::Probe(_) => Exit::Storage,
        RunError::Listen { .. } => Exit::Usage,
        RunError::File { .. } => Exit::File,
        RunError::Threads(_) | RunError::Control(_) => Exit::Failed,
    }
}
