//! What the process says with its exit code.

use std::process::ExitCode;

/// Exit codes. `docs/exit-codes.md` is made of this list and compared with it by a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All is done: the bounded input ended and is committed, or there was nothing wrong.
    Done = 0,
    /// The job failed and its restart strategy gave up, or its failure can't be helped by trying again.
    Failed = 1,
    /// The command line was not understood.
    Usage = 2,
    /// The manifest or the SQL has problems; all of them were shown.
    Invalid = 3,
    /// Another process runs this job now; this one made way.
    Fenced = 4,
    /// The storage was refused or can't be reached.
    Storage = 5,
    /// State in the storage can't be read, or does not match its digests.
    State = 6,
    /// A file can't be read or written.
    File = 7,
    /// A worker had no coordinator for too long, or the process that it belongs to is gone.
    Alone = 8,
    /// Stopped by SIGINT (Ctrl-C) after a last checkpoint; run it again to go on.
    Interrupted = 130,
    /// Stopped by SIGTERM after a last checkpoint; run it again to go on.
    Terminated = 143,
}

impl Exit {
    /// All of them, in order, with the name and the meaning that the documents give.
    #[cfg(test)]
    pub(crate) const ALL: [(Self, &'static str, &'static str); 11] = [
        (Self::Done, "done", "All is done: the bounded input ended and is committed, or nothing is wrong."),
        (
            Self::Failed,
            "failed",
            "The job failed and its restart strategy gave up, or trying again can't help.",
        ),
        (Self::Usage, "usage", "The command line was not understood."),
        (Self::Invalid, "invalid", "The manifest or the SQL has problems; all of them were shown."),
        (Self::Fenced, "fenced", "Another process runs this job now; this one made way. Nothing is lost."),
        (Self::Storage, "storage", "The storage was refused by the probe, or can't be reached."),
        (Self::State, "state", "State in the storage can't be read, or does not match its digests."),
        (Self::File, "file", "A file can't be read or written."),
        (
            Self::Alone,
            "alone",
            "A worker had no coordinator for too long, or the process that started it is gone.",
        ),
        (
            Self::Interrupted,
            "interrupted",
            "Stopped by SIGINT (Ctrl-C): a run after a last checkpoint, from which the same command goes on; a coordinator or \
             worker as for SIGTERM.",
        ),
        (
            Self::Terminated,
            "terminated",
            "Stopped by SIGTERM: a run after a last checkpoint, from which the same command goes on; a coordinator at once, \
             while its workers wait for the next; a worker whose subtasks did not move in time (else 0).",
        ),
    ];
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_of_exit_codes_is_this_list() {
        let mut text =
            "# Exit codes\n\nMade from `worker/src/cli/exit.rs`; to make it anew: `WEIR_UPDATE=1 cargo \
                        test -p weir exit`.\n\n| code | name | meaning |\n| --- | --- | --- |\n"
                .to_owned();
        for (exit, name, meaning) in Exit::ALL {
            text.push_str(&format!("| {} | {name} | {meaning} |\n", exit as u8));
        }
        text.push_str("\nA second SIGINT or SIGTERM ends the process at once; the code is the same.\n");
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/exit-codes.md");
        if std::env::var_os("WEIR_UPDATE").is_some() {
            std::fs::write(&path, &text).expect("the folder of the documents is writable");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "make docs/exit-codes.md anew");
    }
}
