//! The manifest of one version, as the job's processes read it, and as the operator itself reads it again to heal
//! or to go back to this version.

use k8s_openapi::api::core::v1::ConfigMap;

use crate::controller::validate::Wanted;
use crate::names::VERSION;

/// The key of the manifest.
pub const JOB_FILE: &str = "job.yaml";

/// The ConfigMap of a version.
pub fn config_map(wanted: &Wanted, with_origin: bool) -> ConfigMap {
    let mut job = wanted.manifest();
    if !with_origin {
        job.spec.restore_from = None;
    }
    let mut metadata = wanted.identity.metadata(wanted.identity.config_map(&wanted.version));
    metadata.labels.get_or_insert_default().insert(VERSION.to_owned(), wanted.version.clone());
    // JSON is YAML; its lines are those of no editor, but it says the same for every version of the writer.
    let text = serde_json::to_string_pretty(&job).unwrap_or_default();
    ConfigMap { metadata, data: Some([(JOB_FILE.to_owned(), text)].into()), ..ConfigMap::default() }
}
