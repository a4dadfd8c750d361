//! What is generated from the types is committed, and the two are the same.

use kube::CustomResourceExt;
use weir_crds::StreamJob;

const HEADER: &str = "# Generated from the types in crds/src; to make it anew: WEIR_UPDATE=1 cargo test -p weir-crds\n";

#[test]
fn the_committed_definition_is_what_the_types_say() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("streamjobs.weir.dev.yaml");
    let yaml = serde_saphyr::to_string(&StreamJob::crd()).expect("a definition is plain data");
    let generated = format!("{HEADER}{yaml}");
    if std::env::var_os("WEIR_UPDATE").is_some() {
        std::fs::write(&path, &generated).expect("the folder of the crate is writable");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "streamjobs.weir.dev.yaml is not what the types say; make it anew: WEIR_UPDATE=1 cargo test -p weir-crds"
    );
}
