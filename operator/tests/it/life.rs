//! The life of a job, undisturbed: what each change leads to, and what is said of it.

use serde_json::json;
use weir_crds::{ConditionType, Savepoint, SavepointSpec};

use crate::drive::{JOB, Run, spec_with};
use crate::kubelet::tick;

fn started(fields: serde_json::Value) -> Run {
    let mut run = Run::new();
    run.change(|world| world.apply_job(JOB, spec_with(fields)));
    run.settle();
    run
}

fn state(run: &Run) -> String {
    run.picture().state.expect("a status")
}

fn unclean(run: &Run) -> usize {
    run.cluster.world().unclean.len()
}

fn attempts(run: &Run) -> i64 {
    run.cluster.world().journals.values().map(|j| j.attempt).sum()
}

#[test]
fn a_job_comes_up_and_says_so() {
    let run = started(json!({}));
    assert_eq!(state(&run), "Running");
    assert!(run.condition(ConditionType::Ready).starts_with("True AsExpected"));
    assert!(run.condition(ConditionType::Progressing).starts_with("False"));
    assert!(run.condition(ConditionType::CheckpointsHealthy).starts_with("True"));
    assert!(run.condition(ConditionType::Degraded).starts_with("False"));
    assert!(run.condition(ConditionType::Stalled).starts_with("False"));
    let picture = run.picture();
    assert_eq!(picture.pods.len(), 3, "a coordinator and two workers");
    assert_eq!(picture.objects.len(), 6);
    assert_eq!(attempts(&run), 1, "one start is enough");
    let status = run.job().and_then(|job| job.status).expect("a status");
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(
        (status.workers.as_ref().map(|w| (w.desired, w.ready)), status.parallelism),
        (Some((2, 2)), Some(2))
    );
    assert!(status.restore_point.is_some() && status.version.stable.is_some());
}

#[test]
fn it_is_scaled_while_it_runs() {
    let mut run = started(json!({}));
    for (parallelism, slots, pods) in [(5, 1, 6), (1, 1, 2)] {
        let change = json!({"parallelism": parallelism, "worker": {"taskSlots": slots}});
        run.change(|world| world.apply_job(JOB, spec_with(change)));
        run.settle();
        assert_eq!(run.picture().pods.len(), pods);
        assert_eq!(run.job().and_then(|j| j.status).and_then(|s| s.parallelism), Some(parallelism));
    }
    assert_eq!((attempts(&run), unclean(&run)), (1, 0), "by the coordinator that runs");
    let change = run.job().and_then(|j| j.status).and_then(|s| s.change).expect("said");
    assert!(change.message.contains("parallelism"), "{change:?}");
}

#[test]
fn it_rests_and_goes_on() {
    let mut run = started(json!({}));
    run.change(|world| world.apply_job(JOB, spec_with(json!({"suspended": true}))));
    run.settle();
    assert_eq!((state(&run).as_str(), run.picture().pods.len(), unclean(&run)), ("Suspended", 0, 0));
    assert!(run.condition(ConditionType::Ready).starts_with("False Suspended"));
    assert_eq!(run.picture().generation, Some(2), "also when it rests");
    run.change(|world| world.apply_job(JOB, spec_with(json!({}))));
    run.settle();
    assert_eq!((state(&run).as_str(), attempts(&run)), ("Running", 2));
}

#[test]
fn an_upgrade_stops_first_and_keeps_state() {
    let mut run = started(json!({}));
    run.change(|world| world.apply_job(JOB, spec_with(json!({"sql": "OTHER"}))));
    run.settle();
    let world = run.cluster.world();
    let journal = world.journals.values().next().expect("a journal");
    assert_eq!((journal.empty_starts, journal.attempt, world.unclean.len()), (0, 2, 0));
    assert_eq!(
        world.objects.keys().filter(|(kind, _)| kind == "ConfigMap").count(),
        1,
        "the old version is gone"
    );
    drop(world);
    assert_eq!(state(&run), "Running");
}

#[test]
fn a_change_that_is_taken_back_soon_finds_the_first_manifest_again() {
    let mut run = started(json!({}));
    let first = run.picture().objects;
    for fields in [json!({"sql": "OTHER"}), json!({})] {
        run.change(|world| world.apply_job(JOB, spec_with(fields)));
        run.settle();
    }
    assert_eq!((state(&run).as_str(), run.picture().objects), ("Running", first));
}

#[test]
fn what_somebody_deleted_is_there_again_as_soon_as_a_pod_misses_it() {
    let mut run = started(json!({}));
    let whole = run.picture();
    run.change(|world| {
        world.objects.retain(|(kind, _), _| kind != "Secret" && kind != "ConfigMap");
        world.pods.retain(|name, _| !name.contains("-w0-"));
    });
    for _ in 0..20 {
        run.round();
    }
    assert_eq!(run.picture(), whole);
}

#[test]
fn only_the_coordinator_is_replaced_for_its_settings() {
    let mut run = started(json!({}));
    run.change(|world| world.apply_job(JOB, spec_with(json!({"checkpoint": {"interval": "1s"}}))));
    run.settle();
    let world = run.cluster.world();
    let workers: Vec<_> = world.pods.keys().filter(|name| name.contains("-w")).collect();
    assert!(workers.iter().all(|name| name.ends_with("-0")), "{workers:?}");
    assert!(world.pods.keys().any(|name| name.ends_with("-c-1")), "{:?}", world.pods.keys());
}

#[test]
fn a_job_whose_sql_can_not_be_planned_says_so_in_every_condition() {
    let mut run = Run::new();
    run.change(|world| world.apply_job(JOB, spec_with(json!({"sql": "BROKEN"}))));
    run.settle();
    for (type_, answer) in [
        (ConditionType::Ready, "False InvalidSql"),
        (ConditionType::Progressing, "False InvalidSql"),
        (ConditionType::Degraded, "True InvalidSql"),
        (ConditionType::Stalled, "True InvalidSql"),
    ] {
        let condition = run.condition(type_);
        assert!(condition.starts_with(answer), "{type_:?}: {condition}");
    }
}

#[test]
fn an_upgrade_right_after_the_first_checkpoint_is_taken_back_too() {
    let mut run = Run::new();
    run.change(|world| world.apply_job(JOB, spec_with(json!({}))));
    while run.picture().state.is_none_or(|state| state != "Running") {
        run.round();
    }
    // It completes checkpoints, and is changed before anybody has looked.
    run.change(|world| {
        (0..3).for_each(|_| tick(world));
        world.apply_job(JOB, spec_with(json!({"sql": "BROKEN"})));
    });
    for _ in 0..200 {
        run.round();
    }
    assert_eq!(state(&run), "Running");
    assert!(run.condition(ConditionType::Degraded).starts_with("True RolledBack"));
}

#[test]
fn f18_an_upgrade_that_comes_to_nothing_is_taken_back_once() {
    for (change, why) in [
        (json!({"sql": "FAILS"}), "the SQL fails"),
        (json!({"sql": "BROKEN"}), "BROKEN is not SQL"),
        (json!({"worker": {"image": "missing:1"}}), "missing:1"),
        (json!({"sql": "HANGS"}), "stableWithin"),
    ] {
        let mut run = started(json!({"upgrade": {"stableWithin": "2m"}}));
        let mut changed = json!({"upgrade": {"stableWithin": "2m"}});
        crate::drive::merge(&mut changed, change.clone());
        run.change(|world| world.apply_job(JOB, spec_with(changed)));
        run.settle();
        for _ in 0..200 {
            run.round();
        }
        run.settle();
        let degraded = run.condition(ConditionType::Degraded);
        assert!(degraded.starts_with("True RolledBack") && degraded.contains(why), "{change}: {degraded}");
        assert_eq!(state(&run), "Running", "{change}");
        let starts = attempts(&run);
        assert!(starts <= 3, "{change}: it is not tried again, and was {starts} times");
        // Another change is a new try.
        run.change(|world| world.apply_job(JOB, spec_with(json!({"sql": "GOOD"}))));
        run.settle();
        assert!(run.condition(ConditionType::Degraded).starts_with("False"), "{change}");
    }
}

#[test]
fn only_where_it_is_asked_for_is_state_given_up() {
    let mut run = started(json!({}));
    run.change(|world| {
        world.apply_job(JOB, spec_with(json!({"sql": "OTHER", "upgrade": {"mode": "Stateless"}})))
    });
    run.settle();
    assert_eq!(run.cluster.world().journals.values().map(|j| j.empty_starts).sum::<usize>(), 1);
    // A restart of the coordinator goes on with what it has.
    let coordinator =
        run.cluster.world().pods.keys().find(|n| n.contains("-c-")).cloned().expect("a coordinator");
    run.change(|world| world.kill_pod(&coordinator));
    run.settle();
    assert_eq!(run.cluster.world().journals.values().map(|j| j.empty_starts).sum::<usize>(), 1);
}

#[test]
fn bad_specs_leave_what_runs_alone_and_good_ones_follow_without_help() {
    let mut run = started(json!({}));
    for bad in [
        json!({"parallelism": 1000}),
        json!({"checkpoint": {"interval": "ten"}}),
        json!({"sqlFrom": {"configMapKeyRef": {"name": "nothing", "key": "sql"}}, "sql": null}),
        json!({"worker": {"labels": {"team": "forbidden"}}}),
    ] {
        run.change(|world| world.apply_job(JOB, spec_with(bad.clone())));
        run.settle();
        assert!(run.condition(ConditionType::Degraded).starts_with("True"), "{bad}");
        assert_eq!((state(&run).as_str(), attempts(&run), unclean(&run)), ("Running", 1, 0), "{bad}");
        // It is healed all the same.
        let worker = run.cluster.world().pods.keys().find(|n| n.contains("-w0")).cloned().expect("a worker");
        run.change(|world| world.kill_pod(&worker));
        run.settle();
        assert_eq!(run.picture().pods.len(), 3, "{bad}");
    }
    run.change(|world| world.apply_job(JOB, spec_with(json!({}))));
    run.settle();
    assert!(run.condition(ConditionType::Degraded).starts_with("False"));
}

#[test]
fn a_job_that_never_was_right_says_all_that_is_wrong() {
    let mut run = Run::new();
    run.change(|world| {
        world.apply_job(JOB, spec_with(json!({"parallelism": 500, "checkpoint": {"interval": "x"}})))
    });
    run.settle();
    let stalled = run.condition(ConditionType::Stalled);
    assert!(stalled.starts_with("True InvalidSpec"), "{stalled}");
    assert!(
        stalled.contains("spec.parallelism") && stalled.contains("spec.checkpoint.interval"),
        "{stalled}"
    );
    assert!(run.picture().pods.is_empty() && run.picture().objects.is_empty());
}

#[test]
fn f15_what_has_finished_stays_finished() {
    let mut run = started(json!({"sql": "BOUNDED"}));
    assert_eq!((state(&run).as_str(), run.picture().pods.len()), ("Finished", 0));
    assert!(run.condition(ConditionType::Ready).starts_with("True InputEnded"));
    for _ in 0..50 {
        run.round();
    }
    assert_eq!((attempts(&run), run.picture().pods.len()), (1, 0));
}

#[test]
fn f21_a_pod_on_a_lost_node_is_replaced_though_it_does_not_go() {
    let mut run = started(json!({}));
    let pods: Vec<String> = run.cluster.world().pods.keys().cloned().collect();
    for name in &pods {
        run.change(|world| {
            world.stuck.insert(name.clone());
            world.kill_pod(name);
        });
    }
    run.settle();
    assert_eq!(state(&run), "Running");
    assert_eq!(run.picture().pods.len(), 3);
    assert_eq!(run.cluster.world().pods.len(), 6, "the operator forces nothing off a node");
}

#[test]
fn f16_deletion_ends_by_its_deadline_whatever_is_down() {
    for stuck in [false, true] {
        let mut run = started(json!({"deletion": {"deadline": "30s"}}));
        run.change(|world| {
            if stuck {
                world.stuck = world.pods.keys().cloned().collect();
            }
            world.delete_job(JOB);
        });
        let began = run.rounds;
        while run.job().is_some() {
            run.round();
            assert!(run.rounds - began <= 40, "it does not end");
        }
        run.settle();
        assert!(run.picture().objects.is_empty(), "nothing is left behind (F17)");
        assert!(run.picture().pods.is_empty());
        assert_eq!(unclean(&run), usize::from(stuck), "a last checkpoint was taken if that was possible");
        let notes = run.cluster.world().notes.clone();
        assert!(notes.iter().any(|n| n.reason == "StateRetained"), "{notes:?}");
        assert_eq!(notes.iter().any(|n| n.reason == "PodsLeft"), stuck);
    }
}

#[test]
fn a_job_can_be_deleted_in_every_state() {
    for (fields, rounds) in [
        (json!({}), 0),
        (json!({}), 2),
        (json!({"parallelism": 1000}), 5),
        (json!({"worker": {"image": "missing:1"}}), 5),
        (json!({"sql": "BROKEN"}), 5),
        (json!({"sql": "FAILS"}), 10),
        (json!({"sql": "BOUNDED"}), 30),
        (json!({"suspended": true}), 10),
    ] {
        let mut run = Run::new();
        run.change(|world| world.apply_job(JOB, spec_with(fields.clone())));
        for _ in 0..rounds {
            run.round();
        }
        run.change(|world| world.delete_job(JOB));
        run.settle();
        assert!(
            run.job().is_none() && run.picture().objects.is_empty() && run.picture().pods.is_empty(),
            "{fields}"
        );
    }
}

#[test]
fn the_state_of_a_job_goes_with_it_where_that_is_asked_for() {
    for (fields, erased, told) in [
        (json!({"deletion": {"keepState": false}}), 1, "StateDeleted"),
        (json!({"deletion": {"keepState": false}, "suspended": true}), 1, "StateDeleted"),
        (json!({"deletion": {"keepState": true}}), 0, "StateRetained"),
    ] {
        let mut run = started(fields.clone());
        run.change(|world| world.delete_job(JOB));
        run.settle();
        let world = run.cluster.world();
        assert!(world.jobs.is_empty() && world.pods.is_empty(), "{fields}");
        assert_eq!(world.erased.len(), erased, "{fields}");
        assert!(world.notes.iter().any(|note| note.reason == told), "{fields}: {:?}", world.notes);
    }
}

#[test]
fn a_job_starts_from_a_savepoint_as_soon_as_that_is_whole() {
    let mut run = started(json!({}));
    run.change(|world| {
        let number = world.number();
        let mut savepoint =
            Savepoint::new("before", SavepointSpec { job: JOB.to_owned(), ..SavepointSpec::default() });
        savepoint.metadata.namespace = Some("ns".to_owned());
        savepoint.metadata.uid = Some(format!("{number:08x}-5"));
        savepoint.metadata.resource_version = Some("1".to_owned());
        world.savepoints.insert("before".to_owned(), savepoint);
    });
    run.settle();
    let status = run.cluster.world().savepoints["before"].status.clone().expect("a status");
    let place = status.place.expect("a place");
    assert!(place.contains("before-"), "{place}");

    // The name of a savepoint that is not there yet is waited for.
    let mut other = Run::new();
    other.change(|world| world.apply_job(JOB, spec_with(json!({"restoreFrom": {"savepoint": "before"}}))));
    other.settle();
    assert!(other.condition(ConditionType::Ready).contains("not there"));
    let made = run.cluster.world().savepoints["before"].clone();
    other.change(|world| drop(world.savepoints.insert("before".to_owned(), made)));
    other.settle();
    assert_eq!(state(&other), "Running");
    let origin = other.cluster.world().journals.values().find_map(|journal| journal.origin.clone());
    assert_eq!(origin.as_ref(), Some(&place), "F19: the first start is from there");
    // Once it has started, nothing depends on the savepoint any more.
    other.change(|world| world.savepoints.clear());
    other.settle();
    assert!(other.condition(ConditionType::Degraded).starts_with("False"));
}

#[test]
fn it_starts_again_when_asked_by_annotation() {
    let mut run = started(json!({"sql": "FAILS"}));
    assert_eq!(state(&run), "Failed");
    assert!(run.condition(ConditionType::Stalled).contains("weir.dev/restart"));
    let before = attempts(&run);
    run.change(|world| world.annotate(JOB, "weir.dev/restart", "1"));
    run.settle();
    assert!(attempts(&run) > before);
}
