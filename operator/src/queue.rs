//! Passes over objects, in the order in which they are due, each object at most once at a time.
//!
//! kube's own loop looks at all objects that wait or are being looked at whenever something happens to one of them:
//! with thousands, that is most of what the process does. And it takes those that wait in the order of their hashes:
//! under load some of them never.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::pin;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use tokio::time::{Instant, sleep_until};

use crate::cluster::Key;

/// Makes passes until there are no more triggers: up to `turns` at a time, and none before `ready`. A pass says when
/// its object is due again, or that it is not.
pub(crate) async fn make_passes<P: Future<Output = Option<Duration>>>(
    triggers: impl Stream<Item = Key>,
    ready: impl Future<Output = ()>,
    turns: usize,
    pass: impl Fn(Key) -> P,
) {
    let (mut triggers, mut ready) = (pin!(triggers), pin!(ready));
    let (mut queue, mut under_way, mut is_ready) = (Queue::default(), FuturesUnordered::new(), false);
    loop {
        while is_ready
            && under_way.len() < turns
            && let Some(key) = queue.next()
        {
            let pass = pass(key.clone());
            under_way.push(async move { (key, pass.await) });
        }
        let due = queue.due();
        tokio::select! {
            trigger = triggers.next() => match trigger {
                Some(key) => queue.trigger(key),
                None => return,
            },
            Some((key, again)) = under_way.next() => queue.ended(key, again.map(|after| Instant::now() + after)),
            () = &mut ready, if !is_ready => is_ready = true,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => queue.wake(Instant::now()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// And whether it was triggered since.
    UnderWay(bool),
    Asleep(Instant),
}

/// Who is due, and who will be.
#[derive(Debug, Default)]
struct Queue {
    states: HashMap<Key, State>,
    waiting: VecDeque<Key>,
    asleep: BTreeSet<(Instant, Key)>,
}

impl Queue {
    /// Something happened to an object.
    fn trigger(&mut self, key: Key) {
        match self.states.get_mut(&key) {
            Some(State::Waiting) => {}
            Some(State::UnderWay(again)) => *again = true,
            Some(State::Asleep(at)) => {
                let at = *at;
                self.asleep.remove(&(at, key.clone()));
                self.wait(key);
            }
            None => self.wait(key),
        }
    }

    fn wait(&mut self, key: Key) {
        self.states.insert(key.clone(), State::Waiting);
        self.waiting.push_back(key);
    }

    /// The one whose turn it is.
    fn next(&mut self) -> Option<Key> {
        let key = self.waiting.pop_front()?;
        self.states.insert(key.clone(), State::UnderWay(false));
        Some(key)
    }

    /// A pass has ended: when the next is due, if one is.
    fn ended(&mut self, key: Key, again: Option<Instant>) {
        match (self.states.get(&key), again) {
            (Some(State::UnderWay(true)), _) => self.wait(key),
            (_, Some(at)) => {
                self.states.insert(key.clone(), State::Asleep(at));
                self.asleep.insert((at, key));
            }
            (_, None) => {
                self.states.remove(&key);
            }
        }
    }

    /// When the next one wakes up by itself.
    fn due(&self) -> Option<Instant> {
        self.asleep.first().map(|(at, _)| *at)
    }

    fn wake(&mut self, now: Instant) {
        while let Some((_, key)) = self.asleep.first().filter(|(at, _)| *at <= now).cloned() {
            self.trigger(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "ns".to_owned(), name: name.to_owned() }
    }

    fn turns(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.next()).map(|key| key.name).collect()
    }

    #[test]
    fn first_come_first_served_and_nobody_twice() {
        let mut queue = Queue::default();
        for name in ["c", "a", "b", "a", "c"] {
            queue.trigger(key(name));
        }
        assert_eq!(turns(&mut queue), ["c", "a", "b"]);
        // What happens meanwhile leads to one more pass, after this one.
        queue.trigger(key("a"));
        queue.trigger(key("a"));
        assert!(turns(&mut queue).is_empty());
        for name in ["a", "b", "c"] {
            queue.ended(key(name), None);
        }
        assert_eq!(turns(&mut queue), ["a"]);
        queue.ended(key("a"), None);
        assert!(queue.states.is_empty(), "what is not due again is forgotten: {queue:?}");
    }

    #[test]
    fn who_sleeps_wakes_in_time_or_when_something_happens() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        for (name, after) in [("a", 10), ("b", 5), ("c", 20)] {
            queue.trigger(key(name));
            queue.next();
            queue.ended(key(name), Some(later(after)));
        }
        assert_eq!(queue.due(), Some(later(5)));
        queue.trigger(key("c"));
        assert_eq!(turns(&mut queue), ["c"]);
        queue.wake(later(10));
        assert_eq!((turns(&mut queue), queue.due()), (vec!["b".to_owned(), "a".to_owned()], None));
    }

    // The clock stands still but where everybody waits for it: nobody really sleeps.
    #[tokio::test(start_paused = true)]
    async fn no_more_at_a_time_than_there_are_turns_and_none_too_early() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let at_once = std::cell::Cell::new((0_usize, 0_usize));
        let (sender, triggers) = futures::channel::mpsc::unbounded();
        for number in 0..20 {
            sender.unbounded_send(key(&format!("{number:02}"))).expect("taken");
        }
        let ready = async move { drop(told.await) };
        let begun = std::cell::RefCell::new(Vec::new());
        let passes = make_passes(triggers, ready, 3, |key| {
            let (at_once, begun, sender) = (&at_once, &begun, &sender);
            async move {
                let (now, most) = at_once.get();
                at_once.set((now + 1, most.max(now + 1)));
                begun.borrow_mut().push(key.name);
                tokio::time::sleep(Duration::from_secs(1)).await;
                at_once.set((at_once.get().0 - 1, at_once.get().1));
                if begun.borrow().len() == 40 {
                    sender.close_channel();
                }
                Some(Duration::from_secs(60))
            }
        });
        let late = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(begun.borrow().is_empty(), "not all is known yet");
            tell.send(()).expect("it waits");
        };
        futures::join!(passes, late);
        assert_eq!(at_once.get().1, 3);
        assert!(
            begun.borrow()[..20].iter().eq(&begun.borrow()[20..40]),
            "again, in the same order: {begun:?}"
        );
    }
}
