//! More than one operator.

use weir_e2e::story::{name, uid};
use weir_e2e::{Job, LONG, Story, charts};

#[test]
fn two_operators_lead_at_once_and_do_no_harm() {
    let story = Story::begin_without_operator("two-operators");
    charts::install_operator(story.namespace(), &["replicas=2", "extraArgs={--leader-election=false}"]);
    let job = Job::new("shared");
    story.apply(&job);
    story.until_checkpoints(&job, 2);
    let victim = &story.pods(&job, "worker")[0];
    story.kubectl().run(&["delete", "pod", name(victim), "--grace-period=0", "--force"]);
    story.until_pods(&job, "worker", "another pod in its place", |pods| {
        pods.len() == 2 && pods.values().all(|pod| uid(pod) != uid(victim))
    });
    story.until_checkpoints(&job, 2);
    story.kubectl().run(&["scale", "streamjob/shared", "--replicas=3"]);
    story.until_pods(&job, "worker", "one more, and no second set", |pods| pods.len() == 3);
    story.until_checkpoints(&job, 2);
    assert_eq!(story.pods(&job, "coordinator").len(), 1);
    story.finish(&job);
}

#[test]
fn the_operator_that_leads_is_lost_and_the_other_goes_on() {
    let story = Story::begin_without_operator("operator-lost");
    charts::install_operator(story.namespace(), &["replicas=2"]);
    let job = Job::new("guided").at_rate(500);
    story.apply(&job);
    story.until_checkpoints(&job, 1);
    let lease = || story.kubectl().get(&["lease", "weir-operator"])["spec"]["holderIdentity"].clone();
    let leader = lease();
    story.kubectl().run(&["delete", "pod", leader.as_str().unwrap(), "--grace-period=0", "--force"]);
    story.kubectl().run(&["scale", "streamjob/guided", "--replicas=3"]);
    story.until_pods(&job, "worker", "the other one does what is asked", |pods| pods.len() == 3);
    assert_ne!(lease(), leader);
    story.kubectl().until("both operators are there", OPERATORS, LONG, |pods| pods.len() == 2);
    story.finish(&job);
}

const OPERATORS: &[&str] = &["pods", "--selector", "app.kubernetes.io/name=weir-operator"];
