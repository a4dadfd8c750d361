//! Which subtask runs where: the same workers, homes and number of slots always give the same answer.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::{JobGraph, SubtaskId, WorkerId};

/// A worker that takes subtasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// How many slots it has.
    pub slots: u32,
    /// Its process, which is the same when it comes back under another number.
    pub process: String,
}

/// A slot of a worker.
pub type Place = (WorkerId, u32);

/// Where the copies of a job's state are: for each of the job's slots, the process and its slot that ran it
/// last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Homes(Vec<(String, u32)>);

impl Homes {
    /// The homes that follow from a placement.
    pub fn of(places: &[Place], process: impl Fn(WorkerId) -> String) -> Self {
        Self(places.iter().map(|(worker, slot)| (process(*worker), *slot)).collect())
    }

    /// Where slot `index` of `needed` finds most of its state: the slot that had the middle of its key groups.
    fn find(&self, index: usize, needed: usize) -> Option<&(String, u32)> {
        self.0.get((2 * index + 1) * self.0.len() / (2 * needed.max(1)))
    }
}

/// Places a job's slots: subtask `i` of every vertex runs in slot `i` of the job.
///
/// A slot goes back to where its state is; at least to the same process. One that has no home any more goes
/// where the fewest are, lower numbers first, so that slots are spread over the workers as evenly as their
/// sizes allow. When the number of slots changes, no worker keeps more than its share by this.
///
/// Returns `None` while the workers do not offer enough slots.
pub fn place(needed: u32, offers: &BTreeMap<WorkerId, Offer>, homes: &Homes) -> Option<Vec<Place>> {
    let needed = needed as usize;
    let offered: u64 = offers.values().map(|offer| u64::from(offer.slots)).sum();
    if offered < needed as u64 {
        return None;
    }
    let share = match homes.0.len() == needed {
        true => usize::MAX,
        false => needed.div_ceil(offers.len().max(1)),
    };
    let by_process: BTreeMap<&str, WorkerId> =
        offers.iter().map(|(id, offer)| (offer.process.as_str(), *id)).collect();
    let mut free = Free::new(offers);
    let mut places: Vec<Option<Place>> = vec![None; needed];
    for same_slot in [true, false] {
        for (index, place) in places.iter_mut().enumerate().filter(|(_, place)| place.is_none()) {
            let Some((process, slot)) = homes.find(index, needed) else { continue };
            let Some(worker) = by_process.get(process.as_str()) else { continue };
            if free.taken(*worker) < share {
                *place = free.take(*worker, same_slot.then_some(*slot));
            }
        }
    }
    let mut by_load = free.by_load();
    for place in places.iter_mut().filter(|place| place.is_none()) {
        let (load, worker) = by_load.pop_first()?;
        *place = free.take(worker, None);
        if free.has_room(worker) {
            by_load.insert((load + 1, worker));
        }
    }
    places.into_iter().collect()
}

/// Where each subtask of a graph runs, given the places of the job's slots.
pub(crate) fn spread(graph: &JobGraph, places: &[Place]) -> BTreeMap<SubtaskId, Place> {
    graph.subtasks().filter_map(|s| Some((s, *places.get(s.index as usize)?))).collect()
}

/// The slots of each worker that are not taken.
struct Free<'a>(BTreeMap<WorkerId, Slots<'a>>);

struct Slots<'a> {
    offer: &'a Offer,
    taken: BTreeSet<u32>,
    /// No slot below is free.
    lowest: u32,
}

impl<'a> Free<'a> {
    fn new(offers: &'a BTreeMap<WorkerId, Offer>) -> Self {
        let slots = |offer| Slots { offer, taken: BTreeSet::new(), lowest: 0 };
        Self(offers.iter().map(|(id, offer)| (*id, slots(offer))).collect())
    }

    fn taken(&self, worker: WorkerId) -> usize {
        self.0.get(&worker).map_or(0, |slots| slots.taken.len())
    }

    fn has_room(&self, worker: WorkerId) -> bool {
        self.0.get(&worker).is_some_and(|slots| slots.taken.len() < slots.offer.slots as usize)
    }

    /// Takes this slot of a worker, or its lowest that is free.
    fn take(&mut self, worker: WorkerId, slot: Option<u32>) -> Option<Place> {
        let slots = self.0.get_mut(&worker)?;
        let slot = slot.unwrap_or_else(|| {
            while slots.taken.contains(&slots.lowest) {
                slots.lowest += 1;
            }
            slots.lowest
        });
        (slot < slots.offer.slots && slots.taken.insert(slot)).then_some((worker, slot))
    }

    /// Workers with room, those with the fewest taken first.
    fn by_load(&self) -> BTreeSet<(usize, WorkerId)> {
        let all = self.0.iter().map(|(worker, slots)| (slots.taken.len(), *worker));
        all.filter(|(_, worker)| self.has_room(*worker)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(workers: &[(u64, u32)]) -> BTreeMap<WorkerId, Offer> {
        let offer = |id: u64, slots| Offer { slots, process: format!("p{}", id % 10) };
        workers.iter().map(|(id, slots)| (WorkerId(*id), offer(*id, *slots))).collect()
    }

    fn placed(needed: u32, workers: &[(u64, u32)], homes: &[(u64, u32)]) -> Option<Vec<(u64, u32)>> {
        let homes = Homes(homes.iter().map(|(id, slot)| (format!("p{id}"), *slot)).collect());
        let places = place(needed, &offers(workers), &homes)?;
        let distinct: BTreeSet<_> = places.iter().collect();
        assert_eq!((places.len(), distinct.len()), (needed as usize, needed as usize), "a slot each");
        Some(places.into_iter().map(|(worker, slot)| (worker.0, slot)).collect())
    }

    #[test]
    fn slots_are_spread_evenly_and_never_shared_by_two_subtasks_of_a_vertex() {
        assert_eq!(placed(2, &[(1, 2), (2, 2)], &[]), Some(vec![(1, 0), (2, 0)]));
        assert_eq!(placed(3, &[(1, 1), (2, 8)], &[]), Some(vec![(1, 0), (2, 0), (2, 1)]));
        assert_eq!(placed(4, &[(3, 2), (7, 2)], &[]), Some(vec![(3, 0), (7, 0), (3, 1), (7, 1)]));
        assert_eq!(placed(1, &[(1, 4)], &[]), Some(vec![(1, 0)]));
    }

    #[test]
    fn too_few_slots_place_nothing() {
        assert_eq!(placed(3, &[(1, 2)], &[]), None);
        assert_eq!(placed(1, &[], &[]), None);
        assert_eq!(placed(1, &[(1, 0)], &[]), None);
    }

    #[test]
    fn a_slot_goes_back_to_where_its_state_is() {
        // Worker 2 is gone: only its slot moves, to where the fewest are.
        let before = [(1, 0), (2, 0), (3, 0), (1, 1)];
        assert_eq!(placed(4, &[(1, 2), (3, 2), (4, 2)], &before), Some(vec![(1, 0), (4, 0), (3, 0), (1, 1)]));
        // A process that came back under another number is known again.
        assert_eq!(
            placed(4, &[(1, 2), (12, 2), (3, 2)], &before),
            Some(vec![(1, 0), (12, 0), (3, 0), (1, 1)])
        );
        // It came back smaller: the same process, another slot.
        assert_eq!(placed(2, &[(1, 1), (2, 1)], &[(1, 3), (2, 5)]), Some(vec![(1, 0), (2, 0)]));
    }

    #[test]
    fn after_a_change_of_parallelism_slots_stay_near_and_are_still_spread() {
        let two = [(1, 0), (2, 0)];
        assert_eq!(
            placed(4, &[(1, 4), (2, 4)], &two),
            Some(vec![(1, 0), (1, 1), (2, 0), (2, 1)]),
            "each half stays on its worker"
        );
        assert_eq!(
            placed(3, &[(1, 4), (2, 4), (3, 4)], &two),
            Some(vec![(1, 0), (2, 0), (3, 0)]),
            "a new worker has its share"
        );
        assert_eq!(placed(1, &[(1, 4), (2, 4)], &two), Some(vec![(2, 0)]));
    }

    #[test]
    fn ten_thousand_slots_are_placed_at_once() {
        let workers: Vec<_> = (1..=1_000).map(|id| (id, 10)).collect();
        let offers = workers
            .iter()
            .map(|(id, slots)| (WorkerId(*id), Offer { slots: *slots, process: id.to_string() }))
            .collect();
        let first = place(10_000, &offers, &Homes::default()).expect("there are enough");
        let homes = Homes::of(&first, |worker| worker.to_string());
        assert_eq!(place(10_000, &offers, &homes), Some(first));
    }
}
