//! Which subtask runs where: the same workers and graph always give the same answer.

use std::collections::BTreeMap;

use weir_protocol::{JobGraph, SubtaskId, WorkerId};

/// Places all subtasks of a job: subtask `i` of every vertex shares slot `i` of the job, and the
/// job's slots are spread over the workers as evenly as their sizes allow, lower numbers first.
///
/// Returns `None` while the workers do not offer enough slots.
pub fn place(
    graph: &JobGraph,
    workers: &BTreeMap<WorkerId, u32>,
) -> Option<BTreeMap<SubtaskId, (WorkerId, u32)>> {
    let needed = graph.vertices.iter().map(|v| v.parallelism).max().unwrap_or(0);
    let mut used: BTreeMap<WorkerId, u32> = workers.keys().map(|worker| (*worker, 0)).collect();
    let mut slots = Vec::new();
    for _ in 0..needed {
        let free =
            used.iter_mut().filter(|(worker, taken)| workers.get(worker).is_some_and(|n| **taken < *n));
        let (worker, taken) = free.min_by_key(|(worker, taken)| (**taken, **worker))?;
        slots.push((*worker, *taken));
        *taken += 1;
    }
    Some(graph.subtasks().filter_map(|s| Some((s, *slots.get(s.index as usize)?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::graph;

    fn placed(parallelism: u32, workers: &[(u64, u32)]) -> Option<Vec<(u64, u32)>> {
        let graph = graph(parallelism);
        let workers = workers.iter().map(|(id, slots)| (WorkerId(*id), *slots)).collect();
        let placement = place(&graph, &workers)?;
        assert_eq!(placement.len(), graph.subtasks().count(), "every subtask has a place");
        let source = graph.vertices[0].id;
        let one = placement.iter().filter(|(s, _)| s.vertex == source);
        Some(one.map(|(_, (worker, slot))| (worker.0, *slot)).collect())
    }

    #[test]
    fn slots_are_spread_evenly_and_never_shared_by_two_subtasks_of_a_vertex() {
        assert_eq!(placed(2, &[(1, 2), (2, 2)]), Some(vec![(1, 0), (2, 0)]));
        assert_eq!(placed(3, &[(1, 1), (2, 8)]), Some(vec![(1, 0), (2, 0), (2, 1)]));
        assert_eq!(placed(4, &[(3, 2), (7, 2)]), Some(vec![(3, 0), (7, 0), (3, 1), (7, 1)]));
        assert_eq!(placed(1, &[(1, 4)]), Some(vec![(1, 0)]));
    }

    #[test]
    fn too_few_slots_place_nothing() {
        assert_eq!(placed(3, &[(1, 2)]), None);
        assert_eq!(placed(1, &[]), None);
        assert_eq!(placed(1, &[(1, 0)]), None);
    }
}
