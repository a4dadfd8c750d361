//! The pods that watches have shown, by job: a pass over one job must not cost a look at the pods of all others.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;

use super::Key;
use crate::names::JOB_UID;

#[derive(Default)]
struct Pods {
    /// By job, then by name.
    of: HashMap<Job, HashMap<String, Arc<Pod>>>,
    /// The job that a pod is kept under: its label may be changed.
    job: HashMap<Key, Job>,
}

/// The namespace and the uid of a job.
type Job = (String, String);

impl Pods {
    fn insert(&mut self, pod: &Pod) {
        let key = Key::of(pod);
        self.remove(&key);
        let uid = pod.metadata.labels.as_ref().and_then(|labels| labels.get(JOB_UID));
        let job = (key.namespace.clone(), uid.cloned().unwrap_or_default());
        self.of.entry(job.clone()).or_default().insert(key.name.clone(), Arc::new(pod.clone()));
        self.job.insert(key, job);
    }

    fn remove(&mut self, key: &Key) {
        let Some(job) = self.job.remove(key) else { return };
        if let Some(pods) = self.of.get_mut(&job) {
            pods.remove(&key.name);
            if pods.is_empty() {
                self.of.remove(&job);
            }
        }
    }
}

/// What one watch has shown.
#[derive(Default)]
struct Shown {
    /// Absent until all has been shown once.
    known: Option<Pods>,
    /// What a list that is not complete yet has shown.
    coming: Pods,
}

/// The pods that watches have shown, by what was watched: a namespace, or all of them.
#[derive(Clone, Default)]
pub struct PodCache(Arc<RwLock<HashMap<Option<String>, Shown>>>);

impl PodCache {
    /// Takes in what the watch of a namespace, or of all, has shown.
    pub fn see(&self, namespace: Option<&str>, event: &Event<Pod>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let shown = all.entry(namespace.map(str::to_owned)).or_default();
        match event {
            Event::Init => shown.coming = Pods::default(),
            Event::InitApply(pod) => shown.coming.insert(pod),
            Event::InitDone => shown.known = Some(std::mem::take(&mut shown.coming)),
            Event::Apply(pod) => shown.known.iter_mut().for_each(|known| known.insert(pod)),
            Event::Delete(pod) => shown.known.iter_mut().for_each(|known| known.remove(&Key::of(pod))),
        }
    }

    /// Whether the watch of a namespace, or of all, has shown all that there is.
    pub fn is_synced(&self, namespace: Option<&str>) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&namespace.map(str::to_owned)).is_some_and(|shown| shown.known.is_some())
    }

    /// The pods of a job; `None` if they are not known yet.
    pub(super) fn of(&self, namespace: &str, uid: &str) -> Option<Vec<Arc<Pod>>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(&Some(namespace.to_owned())).or_else(|| all.get(&None))?.known.as_ref()?;
        let pods = known.of.get(&(namespace.to_owned(), uid.to_owned()));
        Some(pods.into_iter().flat_map(HashMap::values).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_found_by_their_job_as_the_watch_last_showed_them() {
        let pod = |name: &str, job: &str| -> Pod {
            let labels = json!({JOB_UID: job});
            serde_json::from_value(json!({"metadata": {"namespace": "n", "name": name, "labels": labels}}))
                .expect("a pod")
        };
        let cache = PodCache::default();
        let names = |job: &str| {
            let mut names: Vec<_> =
                cache.of("n", job)?.into_iter().filter_map(|pod| pod.metadata.name.clone()).collect();
            names.sort();
            Some(names)
        };
        let see = |event| cache.see(None, &event);
        see(Event::Init);
        see(Event::InitApply(pod("a", "1")));
        assert_eq!(names("1"), None, "there may be more");
        see(Event::InitDone);
        see(Event::Apply(pod("b", "1")));
        see(Event::Apply(pod("c", "2")));
        assert_eq!(names("1"), Some(vec!["a".to_owned(), "b".to_owned()]));
        see(Event::Apply(pod("b", "2")));
        see(Event::Delete(pod("c", "2")));
        assert_eq!((names("1"), names("2")), (Some(vec!["a".to_owned()]), Some(vec!["b".to_owned()])));
        assert_eq!(cache.of("other", "1"), Some(Vec::new()));
        see(Event::Init);
        assert_eq!(names("1"), Some(vec!["a".to_owned()]), "until all is shown again");
        see(Event::InitDone);
        assert_eq!(names("1"), Some(Vec::new()));
    }
}
