//! The operator dies again and again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use weir_e2e::story::{name, uid};
use weir_e2e::{Job, Kubectl, LONG, Story, charts};

/// No operator lives longer.
const LIFE_MS: u64 = 4_000;

/// What the model of an API server shows for each single write, here with a real one: wherever the operator dies, the
/// next one goes on, and after each change there are as many pods as were asked for.
#[test]
fn the_operator_dies_again_and_again_through_all_of_a_jobs_life() {
    let story = Story::begin_without_operator("operator-dies");
    charts::install_operator(story.namespace(), &["extraArgs={--leader-election=false}"]);
    let over = AtomicBool::new(false);
    let deaths = std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill(story.kubectl(), &over));
        let over = SetAtTheEnd(&over);
        live(&story);
        drop(over);
        killer.join().expect("the killer does not panic")
    });
    assert!(deaths >= 10, "only {deaths} deaths");
}

/// Lets the thread that kills end, also when the story fails.
struct SetAtTheEnd<'a>(&'a AtomicBool);

impl Drop for SetAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn kill(kubectl: &Kubectl, over: &AtomicBool) -> u32 {
    let mut deaths = 0;
    while !over.load(Ordering::Relaxed) {
        let operators = kubectl.list(&["pods", "--selector", "app.kubernetes.io/name=weir-operator"]);
        let Some(operator) = operators.iter().find(|pod| pod["status"]["phase"] == "Running") else {
            continue;
        };
        // When it dies is a matter of chance: that of its uid.
        let chance = u64::from_str_radix(&uid(operator)[..8], 16).expect("hexadecimal digits");
        std::thread::sleep(Duration::from_millis(chance % LIFE_MS));
        let gone = ["delete", "pod", name(operator), "--grace-period=0", "--force"];
        deaths += u32::from(kubectl.attempt(&gone).is_ok());
    }
    deaths
}

fn live(story: &Story) {
    let job = Job::new("cared-for").at_rate(400);
    story.apply(&job);
    story.until_checkpoints(&job, 2);

    story.kubectl().run(&["scale", "streamjob/cared-for", "--replicas=3"]);
    story.until_pods(&job, "worker", "three workers", |pods| pods.len() == 3);
    story.until_checkpoints(&job, 1);

    story.patch(&job, &json!({"suspended": true}));
    story.until(&job, "at rest", |job| job["status"]["state"] == "Suspended");
    let pods = ["pods", "--selector", "app.kubernetes.io/instance=cared-for"];
    story.kubectl().until_gone("a job at rest has no pods", &pods, LONG);
    story.patch(&job, &json!({"suspended": false}));
    story.until_checkpoints(&job, 1);

    let old: Vec<String> = story.pods(&job, "worker").iter().map(|pod| uid(pod).to_owned()).collect();
    story.patch(&job, &json!({"worker": {"resources": {"requests": {"memory": "112Mi"}}}}));
    story.until_pods(&job, "worker", "pods of the new spec, and no others", |pods| {
        pods.len() == 3 && pods.values().all(|pod| !old.contains(&uid(pod).to_owned()))
    });
    story.until_checkpoints(&job, 1);
    assert_eq!(story.pods(&job, "coordinator").len(), 1);
    assert_eq!(story.pods(&job, "worker").len(), 3);

    story.finish(&job);
    story.kubectl().run(&["delete", "streamjob", "cared-for", "--wait=false"]);
    story.kubectl().until_gone("nothing of the job is left", &pods, LONG);
    story.kubectl().until_gone("the job is gone", &["streamjobs"], LONG);
}
