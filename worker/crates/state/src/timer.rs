//! Timers of keys, ordered by time.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array};
use arrow_schema::{ArrowError, DataType};
use weir_protocol::{KeyGroupRange, StateTableInfo};

use crate::{KeyedTable, Keys, Part, StateError, StateTable, TableSpec, TableStats};

/// Timers: at most one for each key and time.
#[derive(Debug)]
pub struct TimerTable {
    /// The time and the key; the key alone decides the key group.
    table: KeyedTable,
    order: BTreeSet<(i64, u32)>,
    keys: Keys,
    ids: Vec<u32>,
}

impl TimerTable {
    /// No timers for keys of these types, in a job with so many key groups.
    ///
    /// # Errors
    /// A type that can't be a key.
    pub fn new(name: &str, keys: &[DataType], max_parallelism: u32) -> Result<Self, StateError> {
        let columns: Vec<DataType> = std::iter::once(DataType::Int64).chain(keys.iter().cloned()).collect();
        let spec = TableSpec {
            name: name.to_owned(),
            keys: columns.clone(),
            ungrouped: 1,
            words: Vec::new(),
            vars: Vec::new(),
            meaning: "timer".to_owned(),
        };
        Ok(Self {
            table: KeyedTable::new(spec, max_parallelism)?,
            order: BTreeSet::new(),
            keys: Keys::new(&columns)?,
            ids: Vec::new(),
        })
    }

    /// Sets a timer (in milliseconds) for each key.
    ///
    /// # Errors
    /// Keys of other types than declared.
    pub fn set(&mut self, keys: &[ArrayRef], times: &[i64]) -> Result<(), StateError> {
        self.fill(keys, times)?;
        self.table.lookup_or_insert(&self.keys, 0..times.len(), &mut self.ids);
        self.order.extend(times.iter().copied().zip(self.ids.iter().copied()));
        Ok(())
    }

    /// Takes timers back; those that are not set do not matter.
    ///
    /// # Errors
    /// Keys of other types than declared.
    pub fn cancel(&mut self, keys: &[ArrayRef], times: &[i64]) -> Result<(), StateError> {
        self.fill(keys, times)?;
        for (at, time) in times.iter().enumerate() {
            if let Some(id) = self.table.find(&self.keys, at) {
                self.order.remove(&(*time, id));
                self.table.remove(id);
            }
        }
        Ok(())
    }

    /// The time of the next timer.
    pub fn next(&self) -> Option<i64> {
        self.order.first().map(|(time, _)| *time)
    }

    /// Takes out up to `max` timers that are due at `until`, by rising time: times and key columns.
    ///
    /// # Errors
    /// None for timers that were set.
    pub fn take_due(&mut self, until: i64, max: usize) -> Result<(Vec<i64>, Vec<ArrayRef>), ArrowError> {
        let due: Vec<(i64, u32)> =
            self.order.iter().take_while(|(time, _)| *time <= until).take(max).copied().collect();
        let ids: Vec<u32> = due.iter().map(|(_, id)| *id).collect();
        let mut keys = self.table.keys_of(&ids)?;
        keys.remove(0);
        for timer in &due {
            self.order.remove(timer);
            self.table.remove(timer.1);
        }
        Ok((due.into_iter().map(|(time, _)| time).collect(), keys))
    }

    fn fill(&mut self, keys: &[ArrayRef], times: &[i64]) -> Result<(), StateError> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(times.to_vec()))];
        columns.extend_from_slice(keys);
        self.keys.fill(&columns, times.len())
    }

    /// Puts the timers of the table in order again, after a restore.
    fn reorder(&mut self) -> Result<(), ArrowError> {
        let ids: Vec<u32> =
            std::iter::successors(self.table.next_id(0), |id| self.table.next_id(id + 1)).collect();
        let times = self.table.keys_of(&ids)?;
        let times = times[0].as_primitive::<Int64Type>().values();
        self.order = times.iter().copied().zip(ids).collect();
        Ok(())
    }
}

impl StateTable for TimerTable {
    fn info(&self) -> StateTableInfo {
        self.table.info()
    }

    fn restore(&mut self, block: &[u8], range: KeyGroupRange) -> Result<(), StateError> {
        self.table.restore(block, range)?;
        self.reorder().map_err(|e| StateError::Block { table: self.info().name, reason: e.to_string() })
    }

    fn freeze(&mut self, full: bool) {
        self.table.freeze(full);
    }

    fn sweep(&mut self, max_rows: usize) -> Option<Part> {
        self.table.sweep(max_rows)
    }

    fn completed(&mut self) {
        self.table.completed();
    }

    fn aborted(&mut self) {
        self.table.aborted();
    }

    fn stats(&self) -> TableStats {
        self.table.stats()
    }
}
