//! Answers of the API server that are as good for a while: passes come every few seconds, and there are many jobs.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Answers by what was asked for, each with when it came.
type Answers<K, V> = HashMap<K, (Instant, V)>;

/// Recent answers, and for how long they are taken to be so.
#[derive(Clone)]
pub(super) struct Recent<K, V> {
    answers: Arc<Mutex<Answers<K, V>>>,
    limit: Duration,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    pub(super) fn new(limit: Duration) -> Self {
        Self { answers: Arc::default(), limit }
    }

    fn answers(&self) -> MutexGuard<'_, Answers<K, V>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let answers = self.answers();
        answers.get(key).filter(|(at, _)| at.elapsed() < self.limit).map(|(_, answer)| answer.clone())
    }

    /// Remembers an answer, and forgets those that are too old: there are never more than were asked for lately.
    pub(super) fn put(&self, key: K, answer: V) {
        let mut answers = self.answers();
        answers.retain(|_, (at, _)| at.elapsed() < self.limit);
        answers.insert(key, (Instant::now(), answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_forgotten_in_time() {
        let mut recent = Recent::new(Duration::from_secs(3600));
        recent.put("a", 1);
        assert_eq!((recent.get(&"a"), recent.get(&"b")), (Some(1), None));
        // As if the hour were over.
        recent.limit = Duration::ZERO;
        assert_eq!(recent.get(&"a"), None);
        recent.put("b", 2);
        assert_eq!(recent.answers().len(), 1);
    }
}
