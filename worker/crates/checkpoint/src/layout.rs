//! The names of everything in a job's folder, and nothing else.
//!
//! ```text
//! journal/00000000000000000007.rec        one record
//! journal.boundary                        slots up to this number do not exist, whatever a read says
//! data/a000003/c000042/<worker>-<random>  state of one worker in one checkpoint, or a part
//!                                         of it: objects are of some tens of MiB at most
//! manifest/a000003/c000042-<random>       what one checkpoint consists of
//! savepoints/<id>/…                       owned by the user, never collected; below it:
//!   savepoint                               written last: without it there is no savepoint
//!   data/…, manifest/…                      as above, copied
//! ```

use weir_protocol::{Attempt, CheckpointId};

use crate::Slot;

/// The folder of the journal's records.
pub const JOURNAL: &str = "journal/";
/// The boundary of the journal.
pub const BOUNDARY: &str = "journal.boundary";
/// The folder of data objects.
pub const DATA: &str = "data/";
/// The folder of manifests.
pub const MANIFESTS: &str = "manifest/";
/// The folder of savepoints.
pub const SAVEPOINTS: &str = "savepoints/";

/// In a savepoint's folder: what says that there is one, and what it consists of.
pub const SAVEPOINT: &str = "savepoint";

/// The folder of one savepoint in its job's folder; without slash at the end.
pub fn savepoint(id: &str) -> String {
    format!("{SAVEPOINTS}{id}")
}

/// The key of a record.
pub fn record(slot: Slot) -> String {
    format!("{JOURNAL}{:020}.rec", slot.0)
}

/// The slot whose record has this key.
pub fn record_slot(key: &str) -> Option<Slot> {
    let digits = key.strip_prefix(JOURNAL)?.strip_suffix(".rec")?;
    let slot = Slot(digits.parse().ok()?);
    (record(slot) == key).then_some(slot)
}

/// The key of a data object; `name` is unique, `[A-Za-z0-9._-]`.
pub fn data(attempt: Attempt, checkpoint: CheckpointId, name: &str) -> String {
    format!("{DATA}a{:06}/c{:06}/{name}", attempt.0, checkpoint.0)
}

/// The key of a manifest.
pub fn manifest(attempt: Attempt, checkpoint: CheckpointId, nonce: &str) -> String {
    format!("{MANIFESTS}a{:06}/c{:06}-{nonce}", attempt.0, checkpoint.0)
}

/// What kind of file a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileKind {
    /// A data object.
    Data,
    /// A manifest.
    Manifest,
}

/// What the name of a file says of its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Data or manifest.
    pub kind: FileKind,
    /// Whose file it is.
    pub attempt: Attempt,
    /// For which checkpoint it was written.
    pub checkpoint: CheckpointId,
}

/// Reads the origin of a data object or manifest off its key; `None` for every other name.
pub fn origin(key: &str) -> Option<Origin> {
    let (kind, rest) = match key.strip_prefix(DATA) {
        Some(rest) => (FileKind::Data, rest),
        None => (FileKind::Manifest, key.strip_prefix(MANIFESTS)?),
    };
    let (attempt, rest) = rest.split_once('/')?;
    let (checkpoint, name) = match kind {
        FileKind::Data => rest.split_once('/')?,
        FileKind::Manifest => rest.split_once('-')?,
    };
    let attempt = Attempt(number(attempt, 'a')?);
    let checkpoint = CheckpointId(number(checkpoint, 'c')?);
    (!name.is_empty() && !name.contains('/')).then_some(Origin { kind, attempt, checkpoint })
}

fn number(text: &str, letter: char) -> Option<u64> {
    let value: u64 = text.strip_prefix(letter)?.parse().ok()?;
    (format!("{letter}{value:06}") == text).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_origin_and_only_exact_names_do() {
        let (a, c) = (Attempt(3), CheckpointId(1_234_567));
        assert_eq!(data(a, c, "w1-f0"), "data/a000003/c1234567/w1-f0");
        assert_eq!(
            origin(&data(a, c, "w1-f0")),
            Some(Origin { kind: FileKind::Data, attempt: a, checkpoint: c })
        );
        assert_eq!(
            origin(&manifest(a, c, "f0")),
            Some(Origin { kind: FileKind::Manifest, attempt: a, checkpoint: c })
        );
        for slot in [0, 1, 7, u64::MAX] {
            assert_eq!(record_slot(&record(Slot(slot))), Some(Slot(slot)));
        }
        for foreign in [
            "data/a3/c000001/x",
            "data/a000003/c000001/",
            "data/a000003/c000001/x/y",
            "data/a+00003/c000001/x",
            "manifest/a000003/c000001",
            "savepoints/a000003/c000001/x",
            "journal/00000000000000000007.rec",
        ] {
            assert_eq!(origin(foreign), None, "{foreign}");
        }
        for foreign in ["journal/7.rec", "journal/00000000000000000007", "journal/+0000000000000000007.rec"] {
            assert_eq!(record_slot(foreign), None, "{foreign}");
        }
    }
}
