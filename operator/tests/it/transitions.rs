//! Whatever way a spec has come: the objects are those of its last word.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::drive::{JOB, Run, merge, spec_with};

/// Changes that a person makes; some of them bad.
fn changes() -> Vec<Value> {
    vec![
        json!({"parallelism": 1}),
        json!({"parallelism": 3}),
        json!({"parallelism": 6, "worker": {"taskSlots": 2}}),
        json!({"worker": {"standby": 1}}),
        json!({"worker": {"standby": 0}}),
        json!({"sql": "A"}),
        json!({"sql": "B"}),
        json!({"sql": "FAILS"}),
        json!({"sql": "BROKEN"}),
        json!({"worker": {"image": "weir:2"}}),
        json!({"worker": {"image": "missing:1"}}),
        json!({"worker": {"labels": {"team": "a"}}}),
        json!({"worker": {"labels": {"team": "forbidden"}}}),
        json!({"worker": {"labels": {"team": "not a label value"}}}),
        json!({"checkpoint": {"interval": "1s"}}),
        json!({"checkpoint": {"interval": "nonsense"}}),
        json!({"checkpoint": {"retain": 7}}),
        json!({"restart": {"strategy": "None"}}),
        json!({"state": {"ttl": "1h"}}),
        json!({"parallelism": 1000}),
        json!({"suspended": true}),
        json!({"suspended": false}),
        json!({"deletion": {"deadline": "1m"}}),
        json!({"upgrade": {"mode": "LastCheckpoint"}}),
        json!({"coordinator": {"resources": {"limits": {"memory": "1Gi"}}}}),
    ]
}

/// The last change of every walk: what it leads to is good.
fn last() -> Value {
    json!({
        "sql": "LAST", "parallelism": 2, "suspended": false, "checkpoint": {"interval": "5s"},
        "worker": {"image": "weir:3", "labels": {"team": "b"}, "standby": 0},
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_of_changes_ends_where_the_last_one_alone_leads(
        walk in prop::collection::vec((select(changes()), 0_usize..12), 20)
    ) {
        let mut spec = json!({});
        let mut run = Run::new();
        for (change, rounds) in walk {
            merge(&mut spec, change);
            run.change(|world| world.apply_job(JOB, spec_with(spec.clone())));
            for _ in 0..rounds {
                run.round();
            }
        }
        merge(&mut spec, last());
        run.change(|world| world.apply_job(JOB, spec_with(spec.clone())));
        run.settle();
        let uid = run.job().and_then(|job| job.metadata.uid).expect("a uid");

        let mut direct = Run::new();
        direct.change(|world| world.apply_job(JOB, spec_with(spec.clone())));
        direct.settle();
        let direct_uid = direct.job().and_then(|job| job.metadata.uid).expect("a uid");

        let (mut walked, mut straight) = (run.picture(), direct.picture());
        prop_assert_eq!(uid, direct_uid, "the worlds number in the same way");
        // How often it was changed, and what came to nothing on the way, is its history.
        for picture in [&mut walked, &mut straight] {
            (picture.generation, picture.version) = (None, None);
        }
        let differences = walked.differences(&straight);
        prop_assert!(differences.is_empty(), "{:#?}", differences);
        let empty: usize = run.cluster.world().journals.values().map(|j| j.empty_starts).sum();
        prop_assert_eq!(empty, 0);
    }
}
