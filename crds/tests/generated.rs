//! What is generated from the types is committed, and the two are the same.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use weir_crds::{Savepoint, StreamJob};

const HEADER: &str =
    "# Generated from the types in crds/src; to make it anew: WEIR_UPDATE=1 cargo test -p weir-crds\n";

#[test]
fn the_committed_definitions_are_what_the_types_say() {
    check("streamjobs.weir.dev.yaml", &StreamJob::crd());
    check("savepoints.weir.dev.yaml", &Savepoint::crd());
}

fn check(file: &str, definition: &CustomResourceDefinition) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let yaml = serde_saphyr::to_string(definition).expect("a definition is plain data");
    let generated = format!("{HEADER}{yaml}");
    if std::env::var_os("WEIR_UPDATE").is_some() {
        std::fs::write(&path, &generated).expect("the folder of the crate is writable");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "{file} is not what the types say; make it anew: WEIR_UPDATE=1 cargo test -p weir-crds"
    );
}
