//! All shapes that a job graph of a few vertices can have.

use std::collections::BTreeSet;

/// Edges from a vertex to a later one.
pub(super) type Shape = Vec<(usize, usize)>;

/// Every directed acyclic graph of so many vertices in which each has an edge, once: graphs that differ only by the
/// names of their vertices are one.
pub(super) fn shapes(vertices: usize) -> Vec<Shape> {
    let pairs: Shape = (0..vertices).flat_map(|to| (0..to).map(move |from| (from, to))).collect();
    let orders = orders(vertices);
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for mask in 0..1_u32 << pairs.len() {
        let shape: Shape = (0..pairs.len()).filter(|at| mask >> at & 1 == 1).map(|at| pairs[at]).collect();
        let used = shape.iter().fold(0_u32, |used, (from, to)| used | 1 << from | 1 << to);
        // What it is called by the order that gives the lowest number.
        let number = |order: &Vec<usize>| {
            shape.iter().fold(0_u64, |bits, (from, to)| bits | 1 << (order[*from] * vertices + order[*to]))
        };
        let name = orders.iter().map(number).min();
        if used.count_ones() as usize == vertices && seen.insert(name) {
            all.push(shape);
        }
    }
    all
}

/// All orders of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
    let with_last =
        |order: Vec<usize>| (0..=order.len()).map(move |at| [&order[..at], &[last], &order[at..]].concat());
    orders(last).into_iter().flat_map(with_last).collect()
}

#[test]
fn there_are_as_many_shapes_as_combinatorics_says() {
    // OEIS A003087, unlabelled acyclic digraphs: 1, 2, 6, 31, 302, 5984. One more vertex without an edge makes each
    // graph of one vertex less another graph: the difference is the number of those without such a vertex.
    let counts: Vec<usize> = (1..=5).map(|vertices| shapes(vertices).len()).collect();
    assert_eq!(counts, [0, 1, 4, 25, 271]);
}
