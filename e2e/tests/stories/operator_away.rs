//! No operator is there, from when the job runs to its end: jobs do not need one to go on.

use weir_e2e::nodes::kill_container_of;
use weir_e2e::{Job, Story};

#[test]
fn containers_die_while_there_is_no_operator() {
    let story = Story::begin("operator-away");
    let job = Job::new("alone");
    story.apply(&job);
    story.until_checkpoints(&job, 2);

    let operator = ["pods", "--selector", "app.kubernetes.io/name=weir-operator"];
    story.kubectl().run(&["scale", "deployment/weir", "--replicas=0"]);
    story.kubectl().until_gone("no operator", &operator, weir_e2e::LONG);

    for component in ["worker", "coordinator", "worker"] {
        let rows = story.result(&[&job]).len();
        kill_container_of(&story.pods(&job, component)[0]);
        story.until_result(&job, "rows arrive again", |result| result.len() > rows);
    }
    story.until_result(&job, "all rows", |result| *result == *weir_e2e::reference::COUNTS);

    story.kubectl().run(&["scale", "deployment/weir", "--replicas=1"]);
    story.finish(&job);
}
