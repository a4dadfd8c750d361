use k8s_openapi::api::core::v1::ResourceRequirements;
use serde_json::{Value, json};
use weir_crds::{JobState, StreamJob};

use super::*;
use crate::controller::pods::PodView;
use crate::controller::validate::{Defaults, References, validate};
use crate::report::Report;

fn job(fields: Value) -> StreamJob {
    let mut manifest = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob",
        "metadata": {
            "name": "j", "namespace": "n", "uid": "0b4f3c1e-0000", "generation": 1,
            "finalizers": ["weir.dev/operator"],
        },
        "spec": {"sql": "INSERT", "checkpoint": {"storage": "s3://bucket/jobs"}},
    });
    for (key, value) in fields.as_object().expect("fields") {
        manifest["spec"][key] = value.clone();
    }
    serde_json::from_value(manifest).expect("a manifest of the test")
}

fn wanted(job: &StreamJob) -> Wanted {
    let defaults = Defaults {
        image: "weir:1".to_owned(),
        worker_resources: ResourceRequirements::default(),
        coordinator_resources: ResourceRequirements::default(),
        root_secret: String::new(),
    };
    validate(job, &References::default(), &defaults).expect("no problems")
}

fn pod(wanted: &Wanted, role: Role) -> PodView {
    let name = match role {
        Role::Coordinator => wanted.identity.coordinator(0),
        Role::Worker(index) => wanted.identity.worker(index, 0),
    };
    PodView {
        uid: format!("uid of {name}"),
        name,
        role,
        version: wanted.version.clone(),
        settings: (role == Role::Coordinator).then(|| wanted.settings.clone()),
        address: "10.0.0.1".parse().ok(),
        going: false,
        over: false,
        running: true,
        since: None,
        restarts: 0,
        trouble: None,
    }
}

fn report(fields: Value) -> Seen {
    let mut report = json!({"job": "0b4f3c1e-0000", "state": "Running", "attempt": 1, "parallelism": 1});
    for (key, value) in fields.as_object().expect("fields") {
        report[key] = value.clone();
    }
    Seen::Reached(serde_json::from_value::<Report>(report).expect("a report of the test"))
}

fn observed(job: StreamJob, pods: Vec<PodView>, coordinator: Seen) -> Observed {
    Observed {
        now: "2026-11-29T10:00:00Z".parse().expect("a time"),
        fresh: true,
        job,
        pods,
        coordinator,
        address: None,
        references: References::default(),
        refused: None,
        leftovers: Vec::new(),
        erased: None,
    }
}

fn decided(observed: &Observed, target: Target, stored: &[&Wanted]) -> Decision {
    let stored = stored.iter().map(|w| (w.version.clone(), (*w).clone())).collect();
    let authority = Authority::new([1; 32]);
    decide(&Facts { observed, target: &target, stored: &stored, authority: &authority })
}

/// What is done to pods and asked, in short.
fn acts(decision: &Decision) -> Vec<String> {
    let tell = |step: &Step| match step {
        Step::Apply(_) => None,
        Step::Create(pod) => Some(format!("+{}", pod.metadata.name.clone().unwrap_or_default())),
        Step::Delete { name, .. } => Some(format!("-{name}")),
        other => Some(format!("{other:?}")),
    };
    decision.steps.iter().filter_map(tell).collect()
}

#[test]
fn pods_are_made_and_taken_away_one_by_one() {
    let job = job(json!({"parallelism": 2}));
    let wanted = wanted(&job);
    let (c, w0, w1) =
        (pod(&wanted, Role::Coordinator), pod(&wanted, Role::Worker(0)), pod(&wanted, Role::Worker(1)));
    let with = |pod: &PodView, change: &dyn Fn(&mut PodView)| {
        let mut changed = pod.clone();
        change(&mut changed);
        changed
    };
    let going = |p: &mut PodView| p.going = true;
    let over = |p: &mut PodView| p.over = true;
    let old = |p: &mut PodView| p.version = "old".to_owned();
    let settings = |p: &mut PodView| p.settings = Some("old".to_owned());
    let twin = |p: &mut PodView| p.name = "j-0b4f3c1e-w0-1".to_owned();
    let w2 = pod(&wanted, Role::Worker(2));
    let base = "j-0b4f3c1e";
    let cases: Vec<(Vec<PodView>, Vec<String>)> = vec![
        (vec![], vec![format!("+{base}-c-0"), format!("+{base}-w0-0"), format!("+{base}-w1-0")]),
        (vec![c.clone(), w0.clone(), w1.clone()], vec![]),
        (vec![c.clone(), w1.clone()], vec![format!("+{base}-w0-0")]),
        (vec![c.clone(), with(&w0, &going), w1.clone()], vec![format!("+{base}-w0-1")]),
        (
            vec![c.clone(), with(&w0, &over), w1.clone()],
            vec![format!("-{base}-w0-0"), format!("+{base}-w0-1")],
        ),
        (
            vec![with(&c, &settings), w0.clone(), w1.clone()],
            vec![format!("-{base}-c-0"), format!("+{base}-c-1")],
        ),
        (
            vec![c.clone(), with(&w0, &old), w1.clone()],
            vec![format!("-{base}-w0-0"), format!("+{base}-w0-1")],
        ),
        (vec![c.clone(), w0.clone(), with(&w0, &twin), w1.clone()], vec![format!("-{base}-w0-1")]),
        (vec![c.clone(), w0.clone(), w1.clone(), w2], vec![format!("-{base}-w2-0")]),
    ];
    for (pods, expected) in cases {
        let observed = observed(job.clone(), pods.clone(), report(json!({"parallelism": 2})));
        let decision = decided(&observed, Ok(wanted.clone()), &[]);
        assert_eq!(acts(&decision), expected, "{pods:?}");
    }
}

#[test]
fn workers_beyond_the_parallelism_stay_until_the_job_has_left_them() {
    let job = job(json!({"parallelism": 1}));
    let wanted = wanted(&job);
    let pods: Vec<PodView> =
        [Role::Coordinator, Role::Worker(0), Role::Worker(1)].map(|role| pod(&wanted, role)).into();
    for (seen, expected) in [
        (Seen::Unreachable("no".to_owned()), vec![]),
        (report(json!({"parallelism": 2})), vec!["Ask(Rescale { parallelism: 1 })".to_owned()]),
        (report(json!({"parallelism": 2, "rescalingTo": 1})), vec![]),
        (report(json!({"parallelism": 1})), vec!["-j-0b4f3c1e-w1-0".to_owned()]),
    ] {
        let observed = observed(job.clone(), pods.clone(), seen.clone());
        assert_eq!(acts(&decided(&observed, Ok(wanted.clone()), &[])), expected, "{seen:?}");
    }
}

#[test]
fn f11_nothing_is_concluded_from_a_coordinator_that_does_not_answer_at_once() {
    let before = job(json!({}));
    let old = wanted(&before);
    let mut changed = job(json!({"sql": "OTHER"}));
    let new = wanted(&changed);
    let status = changed.status.get_or_insert_default();
    status.version.current = Some(old.version.clone());
    let pods = vec![pod(&old, Role::Coordinator), pod(&old, Role::Worker(0))];
    let waits = observed(changed.clone(), pods.clone(), Seen::Unreachable("slow".to_owned()));
    let decision = decided(&waits, Ok(new.clone()), &[&old]);
    assert!(acts(&decision).is_empty() && decision.memory.stopping.is_some());
    assert_eq!(decision.memory.current.as_ref(), Some(&old.version));
    // It answers: it is asked to stop. It has stopped: the other version is remembered before anything is made.
    let answers = Observed { coordinator: report(json!({})), ..waits.clone() };
    assert_eq!(acts(&decided(&answers, Ok(new.clone()), &[&old])), ["Ask(Stop { now: false })"]);
    let stopped = Observed { coordinator: report(json!({"state": "Stopped"})), ..waits.clone() };
    let decision = decided(&stopped, Ok(new.clone()), &[&old]);
    assert_eq!(decision.memory.current.as_ref(), Some(&new.version));
    assert!(acts(&decision).is_empty(), "not in the same pass");
    // Only after a while is it passed over; the next coordinator fences it.
    let mut late = waits;
    late.job.status.get_or_insert_default().version.stopping =
        Some(Time("2026-11-29T09:59:00Z".parse().expect("a time")));
    let decision = decided(&late, Ok(new.clone()), &[&old]);
    assert_eq!(decision.memory.current.as_ref(), Some(&new.version));
}

#[test]
fn what_takes_something_away_needs_fresh_facts() {
    let stop = Step::Ask(Ask::Stop { now: false });
    let delete = Step::Delete { name: String::new(), uid: String::new(), why: "" };
    for step in [stop, delete, Step::LetGo, Step::Forget(String::new())] {
        assert!(step.is_destructive(), "{step:?}");
    }
    assert!(!Step::Hold.is_destructive());
    assert!(!Step::Ask(Ask::Rescale { parallelism: 1 }).is_destructive());
}

#[test]
fn a_finished_job_leaves_nothing_running_and_a_failed_one_its_coordinator() {
    let job = job(json!({}));
    let wanted = wanted(&job);
    let pods = vec![pod(&wanted, Role::Coordinator), pod(&wanted, Role::Worker(0))];
    for (state, expected, ended) in [
        ("Finished", vec!["-j-0b4f3c1e-c-0", "-j-0b4f3c1e-w0-0"], JobState::Finished),
        ("Failed", vec!["-j-0b4f3c1e-w0-0"], JobState::Failed),
    ] {
        let observed = observed(job.clone(), pods.clone(), report(json!({"state": state})));
        let decision = decided(&observed, Ok(wanted.clone()), &[]);
        assert_eq!(acts(&decision), expected, "{state}");
        assert_eq!(decision.memory.ended.as_ref().map(|e| e.state), Some(ended));
        assert!(decision.is_destructive());
    }
}
