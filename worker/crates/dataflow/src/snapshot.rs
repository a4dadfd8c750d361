//! A subtask's part in a checkpoint, from the freeze until all frozen rows are swept out.

use weir_protocol::{CheckpointId, Failure, PhaseTimes, StateTableInfo, SubtaskId, TransformId};
use weir_runtime::{Clock, Timestamp};
use weir_state::Part;

use crate::chain::Chain;
use crate::slot::{Events, SlotEvent};
use crate::{Barrier, SplitState};

/// How long pieces are taken out between two inputs, in microseconds: rows that flow wait as long, and the sooner the
/// sweep is through, the fewer rows have to be copied before their turn, for they are written.
const PAUSE_US: u64 = 500;

/// The list of operator state that holds a source's splits.
pub(crate) const SPLITS: &str = "splits";

/// How many deltas each table has behind it, and which checkpoint is under way.
pub(crate) struct Trackers {
    /// Per table, in the order of the chain: deltas since the base, `None` without a base.
    deltas: Vec<Option<u32>>,
    /// The same if the checkpoint under way completes.
    pending: Vec<Option<u32>>,
    in_flight: Option<CheckpointId>,
    deltas_per_base: u32,
}

impl Trackers {
    /// `deltas`: per table in the order of the chain, as restored.
    pub(crate) fn new(deltas: Vec<Option<u32>>, deltas_per_base: u32) -> Self {
        Self { pending: deltas.clone(), deltas, in_flight: None, deltas_per_base }
    }

    pub(crate) fn in_flight(&self) -> Option<CheckpointId> {
        self.in_flight
    }

    /// The checkpoint under way is over. Whether it is the one that completed.
    pub(crate) fn settle(&mut self, completed: Option<CheckpointId>, chain: &mut Chain) -> bool {
        let durable = self.in_flight.is_some() && self.in_flight == completed;
        for link in &mut chain.links {
            for table in link.transform.tables() {
                if durable {
                    table.completed();
                } else {
                    table.aborted();
                }
            }
        }
        if durable {
            self.deltas.clone_from(&self.pending);
        }
        self.in_flight = None;
        durable
    }

    /// Whether the next freeze of a table is a base.
    fn freeze(&mut self, table: usize) -> bool {
        let next = self.deltas[table].map(|d| d + 1).filter(|d| *d <= self.deltas_per_base);
        self.pending[table] = Some(next.unwrap_or(0));
        next.is_none()
    }
}

/// The part of a transform that is small: its lists.
#[derive(Debug)]
pub(crate) struct FrozenLists {
    pub(crate) transform: TransformId,
    pub(crate) lists: Vec<(String, Vec<Vec<u8>>)>,
}

/// A table in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrozenTable {
    pub(crate) transform: TransformId,
    pub(crate) info: StateTableInfo,
    /// Whether the checkpoint holds all of it.
    pub(crate) full: bool,
}

/// Everything of a subtask's part but the rows of its tables.
pub(crate) struct Swept {
    pub(crate) subtask: SubtaskId,
    pub(crate) id: CheckpointId,
    /// As the barrier said.
    pub(crate) completed: Option<CheckpointId>,
    pub(crate) tables: Vec<FrozenTable>,
    pub(crate) lists: Vec<FrozenLists>,
    pub(crate) times: PhaseTimes,
    pub(crate) frozen_at: Timestamp,
}

/// Rows on their way from a slot to the encoder.
pub(crate) enum Collected {
    Part {
        id: CheckpointId,
        /// As the barrier said.
        completed: Option<CheckpointId>,
        subtask: SubtaskId,
        transform: TransformId,
        /// Position in [`Swept::tables`].
        table: u32,
        info: StateTableInfo,
        part: Part,
        /// That its rows take.
        bytes: u64,
    },
    Swept(Box<Swept>),
}

impl Collected {
    /// The checkpoint, and the newest completed one as the barrier said.
    pub(crate) fn of(&self) -> (CheckpointId, Option<CheckpointId>) {
        match self {
            Self::Part { id, completed, .. } => (*id, *completed),
            Self::Swept(swept) => (swept.id, swept.completed),
        }
    }

    /// The memory that its rows take.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Part { bytes, .. } => *bytes,
            Self::Swept(_) => 0,
        }
    }
}

/// A subtask's part that is being swept.
pub(crate) struct Snapshot {
    rest: Option<Box<Swept>>,
    next_table: usize,
    events: Events,
    pub(crate) times: PhaseTimes,
    pub(crate) frozen_at: Timestamp,
}

impl Snapshot {
    /// Freezes everything that the subtask holds.
    pub(crate) fn freeze(
        subtask: SubtaskId,
        barrier: &Barrier,
        source: Option<(TransformId, Vec<SplitState>)>,
        chain: &mut Chain,
        trackers: &mut Trackers,
        events: Events,
    ) -> Result<Self, Failure> {
        let mut tables = Vec::new();
        let mut lists = Vec::new();
        if let Some((transform, splits)) = source {
            let splits = splits.iter().map(SplitState::encode).collect();
            lists.push(FrozenLists { transform, lists: vec![(SPLITS.to_owned(), splits)] });
        }
        for link in &mut chain.links {
            for table in link.transform.tables() {
                let full = trackers.freeze(tables.len());
                table.freeze(full);
                tables.push(FrozenTable { transform: link.id, info: table.info(), full });
            }
            let values = link.transform.lists();
            if !values.is_empty() {
                lists.push(FrozenLists { transform: link.id, lists: values });
            }
        }
        if let Some((transform, sink)) = &mut chain.output.sink {
            // Apart from the rest: what is prepared outlives a checkpoint that is given up.
            let handles = sink.prepare_commit(barrier.id)?;
            events.send(SlotEvent::Prepared { id: barrier.id, subtask, transform: *transform, handles });
        }
        trackers.in_flight = Some(barrier.id);
        let rest = Swept {
            subtask,
            id: barrier.id,
            completed: barrier.completed,
            tables,
            lists,
            times: PhaseTimes::default(),
            frozen_at: Timestamp::default(),
        };
        Ok(Self {
            rest: Some(Box::new(rest)),
            next_table: 0,
            events,
            times: PhaseTimes::default(),
            frozen_at: Timestamp::default(),
        })
    }

    /// Takes the next pieces out. Whether there was something to do and room for it.
    pub(crate) fn sweep(&mut self, chain: &mut Chain, clock: &dyn Clock) -> bool {
        if !self.piece(chain) {
            return false;
        }
        let until = clock.now().0 + PAUSE_US;
        while clock.now().0 < until && self.piece(chain) {}
        true
    }

    fn piece(&mut self, chain: &mut Chain) -> bool {
        let Some(rest) = &self.rest else { return false };
        if !self.events.has_room() {
            return false;
        }
        let (subtask, id, completed) = (rest.subtask, rest.id, rest.completed);
        let mut number = 0;
        for link in &mut chain.links {
            for table in link.transform.tables() {
                if number < self.next_table {
                    number += 1;
                    continue;
                }
                if let Some(part) = table.sweep(self.events.piece_rows()) {
                    let FrozenTable { transform, info, .. } = rest.tables[number].clone();
                    let table = number as u32;
                    let bytes = part.bytes() as u64;
                    self.events.collect(Collected::Part {
                        id,
                        completed,
                        subtask,
                        transform,
                        table,
                        info,
                        part,
                        bytes,
                    });
                    return true;
                }
                number += 1;
                self.next_table = number;
            }
        }
        if let Some(mut rest) = self.rest.take() {
            rest.times = self.times;
            rest.frozen_at = self.frozen_at;
            self.events.collect(Collected::Swept(rest));
        }
        true
    }

    pub(crate) fn done(&self) -> bool {
        self.rest.is_none()
    }
}
