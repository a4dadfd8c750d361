//! The operator dies before and after each write of every path of life, with fresh and with stale reads; the one
//! that follows it brings the job to where it would have been.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::drive::{JOB, Picture, Run, merge, spec_with};
use crate::model::Death;

/// A path: what is there before, and what then happens.
struct Path {
    name: &'static str,
    before: Value,
    event: fn(&mut Run),
    /// Rows that are read again, at most: how often a coordinator is taken away while it runs.
    unclean: usize,
}

fn change(run: &mut Run, fields: Value) {
    let mut all = json!({"upgrade": {"stableWithin": "1m"}});
    merge(&mut all, fields);
    run.change(|world| world.apply_job(JOB, spec_with(all)));
}

fn kill(run: &mut Run, part: &str) {
    let name = run.cluster.world().pods.keys().find(|name| name.contains(part)).cloned();
    run.change(|world| name.iter().for_each(|name| world.kill_pod(name)));
}

fn lose(run: &mut Run, part: &str) {
    let names: Vec<String> = run.cluster.world().pods.keys().filter(|n| n.contains(part)).cloned().collect();
    run.change(|world| {
        for name in &names {
            world.stuck.insert(name.clone());
            world.kill_pod(name);
        }
    });
}

const PATHS: &[fn() -> Path] = &[
    || Path { name: "create", before: Value::Null, event: |run| change(run, json!({})), unclean: 0 },
    || Path {
        name: "scale up",
        before: json!({}),
        event: |run| change(run, json!({"parallelism": 5})),
        unclean: 0,
    },
    || Path {
        name: "scale down",
        before: json!({"parallelism": 4}),
        event: |run| change(run, json!({"parallelism": 1})),
        unclean: 0,
    },
    || Path {
        name: "suspend",
        before: json!({}),
        event: |run| change(run, json!({"suspended": true})),
        unclean: 0,
    },
    || Path {
        name: "resume",
        before: json!({"suspended": true}),
        event: |run| change(run, json!({})),
        unclean: 0,
    },
    || Path {
        name: "upgrade",
        before: json!({}),
        event: |run| change(run, json!({"sql": "OTHER"})),
        unclean: 0,
    },
    || Path {
        name: "upgrade at rest",
        before: json!({"suspended": true}),
        event: |run| change(run, json!({"sql": "OTHER"})),
        unclean: 0,
    },
    || Path {
        name: "upgrade and suspend",
        before: json!({}),
        event: |run| change(run, json!({"sql": "OTHER", "suspended": true})),
        unclean: 0,
    },
    || Path {
        name: "roll back what fails",
        before: json!({}),
        event: |run| change(run, json!({"sql": "FAILS"})),
        unclean: 0,
    },
    || Path {
        name: "roll back what is no SQL",
        before: json!({}),
        event: |run| change(run, json!({"sql": "BROKEN"})),
        unclean: 0,
    },
    || Path {
        name: "roll back what hangs",
        before: json!({}),
        event: |run| change(run, json!({"sql": "HANGS"})),
        unclean: 1,
    },
    || Path {
        name: "roll back a bad image",
        before: json!({}),
        event: |run| change(run, json!({"worker": {"image": "missing:1"}})),
        unclean: 0,
    },
    || Path {
        name: "settings",
        before: json!({}),
        event: |run| change(run, json!({"checkpoint": {"interval": "1s"}})),
        unclean: 1,
    },
    || Path {
        name: "bad spec",
        before: json!({}),
        event: |run| change(run, json!({"parallelism": 1000})),
        unclean: 0,
    },
    || Path { name: "worker deleted", before: json!({}), event: |run| kill(run, "-w0"), unclean: 0 },
    || Path { name: "coordinator deleted", before: json!({}), event: |run| kill(run, "-c-"), unclean: 0 },
    || Path { name: "node lost", before: json!({}), event: |run| lose(run, "-w1"), unclean: 0 },
    || Path { name: "all nodes lost", before: json!({}), event: |run| lose(run, "-"), unclean: 0 },
    || Path {
        name: "finish",
        before: Value::Null,
        event: |run| change(run, json!({"sql": "BOUNDED"})),
        unclean: 0,
    },
    || Path {
        name: "fail",
        before: Value::Null,
        event: |run| change(run, json!({"sql": "FAILS"})),
        unclean: 0,
    },
    || Path {
        name: "delete",
        before: json!({}),
        event: |run| run.change(|world| world.delete_job(JOB)),
        unclean: 0,
    },
    || Path {
        name: "delete with its state",
        before: json!({"deletion": {"keepState": false}}),
        event: |run| run.change(|world| world.delete_job(JOB)),
        unclean: 0,
    },
    || Path {
        name: "delete at rest",
        before: json!({"suspended": true}),
        event: |run| run.change(|world| world.delete_job(JOB)),
        unclean: 0,
    },
    || Path {
        name: "delete while it upgrades",
        before: json!({}),
        event: |run| {
            change(run, json!({"sql": "OTHER"}));
            run.round();
            run.round();
            run.change(|world| world.delete_job(JOB));
        },
        unclean: 0,
    },
];

/// What a run of a path came to.
struct End {
    picture: Picture,
    writes: usize,
    unclean: usize,
    empty_starts: usize,
    attempts: i64,
}

fn walk(path: &Path, death: Option<Death>, stale: usize) -> End {
    walk_with(Run::new(), path, death, stale)
}

fn walk_with(mut run: Run, path: &Path, death: Option<Death>, stale: usize) -> End {
    if !path.before.is_null() {
        change(&mut run, path.before.clone());
        run.settle();
    }
    run.change(|world| world.unclean.clear());
    run.disturb(death, stale);
    (path.event)(&mut run);
    run.settle();
    // What takes time by the operator's own clock: upgrades that come to nothing.
    if path.name.starts_with("roll back") {
        for _ in 0..100 {
            run.round();
        }
        run.settle();
    }
    // At the end everything answers again.
    run.change(|world| world.flaky = 0);
    run.settle();
    let picture = run.picture();
    let world = run.cluster.world();
    let journals = world.journals.values();
    End {
        picture,
        writes: world.writes,
        unclean: world.unclean.len(),
        empty_starts: journals.clone().map(|j| j.empty_starts).sum(),
        attempts: journals.map(|j| j.attempt).sum(),
    }
}

/// Does this with every path, on all processors; the sum of what it gives.
fn with_all_paths(check: impl Fn(&Path) -> usize + Sync) -> usize {
    let next = AtomicUsize::new(0);
    let some = || {
        let paths = std::iter::from_fn(|| PATHS.get(next.fetch_add(1, Ordering::Relaxed)));
        paths.map(|path| check(&path())).sum::<usize>()
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        let ended = running.into_iter().map(|thread| thread.join().unwrap_or_else(|why| resume_unwind(why)));
        ended.sum()
    })
}

/// The job is where the undisturbed run brought it, nothing began from nothing, and no more rows were read again.
fn check(case: &str, path: &Path, end: &End, whole: &End) {
    let differences = end.picture.differences(&whole.picture);
    assert!(differences.is_empty(), "{case}: {differences:#?}");
    assert_eq!(end.empty_starts, 0, "{case}: never from nothing");
    assert!(end.unclean <= path.unclean, "{case}: {} unclean", end.unclean);
}

#[test]
fn an_operator_may_die_at_any_write_of_any_path() {
    let cases = with_all_paths(|path| {
        let whole = walk(path, None, 0);
        assert!(whole.unclean <= path.unclean, "{}: {} unclean", path.name, whole.unclean);
        let ways = [(false, 0), (true, 0), (false, 3), (true, 3)];
        for write in 1..=whole.writes {
            for (after, stale) in ways {
                let death = Death { write, after };
                let end = walk(path, Some(death), stale);
                let case = format!("{}: {death:?}, reads {stale} seconds old", path.name);
                check(&case, path, &end, &whole);
                // Starts that were not needed cost time: there are few.
                let few = whole.attempts + 2;
                assert!(end.attempts <= few, "{case}: {} attempts, at most {few}", end.attempts);
            }
        }
        whole.writes * ways.len()
    });
    assert!(cases >= 1000, "only {cases} cases");
}

#[test]
fn stale_reads_alone_change_nothing() {
    with_all_paths(|path| {
        let whole = walk(path, None, 0);
        let ages = [1, 2, 5, 10];
        for stale in ages {
            let end = walk(path, None, stale);
            check(&format!("{}: reads {stale} seconds old", path.name), path, &end, &whole);
        }
        ages.len()
    });
}

#[test]
fn two_operators_at_once_are_harmless() {
    with_all_paths(|path| {
        let whole = walk(path, None, 0);
        let ages = [0, 2, 5];
        for stale in ages {
            let end = walk_with(Run::with_operators(2), path, None, stale);
            check(&format!("{}: reads {stale} seconds old", path.name), path, &end, &whole);
        }
        ages.len()
    });
}

#[test]
fn f39_requests_that_are_not_answered_lead_to_no_wrong_decision() {
    with_all_paths(|path| {
        let whole = walk(path, None, 0);
        let seeds = 1..=8_u64;
        for seed in seeds.clone() {
            let run = Run::new();
            run.change(|world| world.flaky = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let end = walk_with(run, path, None, 0);
            check(&format!("{}, seed {seed}", path.name), path, &end, &whole);
        }
        seeds.count()
    });
}
