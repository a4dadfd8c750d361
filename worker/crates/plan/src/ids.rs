//! Stable ids: a transform's id says what it computes from which tables. Aliases, blanks, other
//! statements and stateless steps in between do not change it.

use std::collections::BTreeMap;

use weir_protocol::TransformId;

/// What a node of the graph is, for its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    /// What it is.
    pub(crate) own: String,
    /// What it is to those that read it: stateless steps are what they read.
    pub(crate) base: String,
    /// All filters on the way to it: tells apart what `own` does not.
    pub(crate) filters: String,
}

impl Description {
    /// Of a node that those who read it know as what it is.
    pub(crate) fn of(own: String, filters: String) -> Self {
        Self { base: own.clone(), own, filters }
    }
}

/// The ids of all nodes. Nodes of equal `own` all carry their filters, so that state never goes to
/// another one than before when one of them is added; a number is the last resort.
pub(crate) fn assign(descriptions: &[Description]) -> Vec<TransformId> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for d in descriptions {
        *counts.entry(&d.own).or_default() += 1;
    }
    let full: Vec<String> = descriptions
        .iter()
        .map(|d| {
            if counts[d.own.as_str()] > 1 { format!("{} where {}", d.own, d.filters) } else { d.own.clone() }
        })
        .collect();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    full.iter()
        .map(|text| {
            let n = seen.entry(text).or_default();
            *n += 1;
            if *n == 1 { TransformId::of(text) } else { TransformId::of(&format!("{text} #{n}")) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(base: &str, filters: &str) -> Description {
        Description::of(base.into(), filters.into())
    }

    #[test]
    fn equal_nodes_are_told_apart_by_their_filters_and_then_by_number() {
        let ids = assign(&[d("a", "x"), d("b", ""), d("a", "y"), d("a", "y")]);
        assert_eq!(ids[1], TransformId::of("b"));
        assert_eq!(ids[0], TransformId::of("a where x"));
        assert_eq!(ids[2], TransformId::of("a where y"));
        assert_eq!(ids[3], TransformId::of("a where y #2"));
    }
}
