//! `weir-operator plan`: what applying a manifest would do to the job that runs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kube::{Api, Client};
use weir_crds::{ChangeClass, Problem, StreamJob};
use weir_operator::controller::validate::{Defaults, References, Wanted, validate};
use weir_operator::controller::{Changed, changes, strongest};

use super::{print, read};

#[derive(Debug, Clone, Args)]
pub(super) struct PlanArgs {
    /// The manifest: a YAML file with a StreamJob; "-" reads standard input
    file: PathBuf,
    /// Compares with this manifest instead of with the job in the cluster
    #[arg(long, value_name = "FILE")]
    current: Option<PathBuf>,
}

pub(super) fn main(args: &PlanArgs, defaults: &Defaults, namespace: Option<&String>) -> ExitCode {
    let compared = manifest(&args.file).and_then(|new| {
        let old = match &args.current {
            Some(file) => Some(manifest(file)?),
            None => from_cluster(&new, namespace)?,
        };
        Ok((old, new))
    });
    match compared.and_then(|(old, new)| plan(old, new, defaults)) {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(text) => {
            print(&format!("error: {text}\n"));
            ExitCode::from(3)
        }
    }
}

fn manifest(file: &PathBuf) -> Result<StreamJob, String> {
    let text = read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let value: serde_json::Value =
        serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let shape = weir_crds::check_shape(&value);
    match shape.job {
        Some(job) if shape.problems.is_empty() => Ok(job),
        _ => Err(listed(&shape.problems)),
    }
}

fn from_cluster(new: &StreamJob, namespace: Option<&String>) -> Result<Option<StreamJob>, String> {
    let name = new.metadata.name.clone().unwrap_or_default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let client = Client::try_default().await.map_err(|error| error.to_string())?;
        let own = client.default_namespace().to_owned();
        let namespace = new.metadata.namespace.as_ref().or(namespace).unwrap_or(&own);
        let jobs: Api<StreamJob> = Api::namespaced(client, namespace);
        jobs.get_opt(&name).await.map_err(|error| error.to_string())
    })
}

/// What would be done, in words.
fn plan(old: Option<StreamJob>, new: StreamJob, defaults: &Defaults) -> Result<String, String> {
    let new = checked(new, defaults)?;
    let Some(old) = old else {
        let (pods, name) = (new.workers(), &new.identity.name);
        return Ok(format!("{name}: is not there yet; a coordinator and {pods} workers would be started\n"));
    };
    // What runs was taken once, whatever the rules are now.
    let old = checked(old, defaults)?;
    let found = changes(&old.spec, &new.spec);
    let verdict = match strongest(&found) {
        ChangeClass::Ignore => "nothing that runs would change",
        ChangeClass::InPlace => "it would change while it runs",
        ChangeClass::Restart | ChangeClass::Other => {
            "it would be stopped with a last checkpoint, and go on from it in new pods"
        }
    };
    let tell = |c: &Changed| format!("  {}: {:?}: {}\n", c.path, c.class, c.how);
    Ok(format!("{}: {verdict}\n{}", new.identity.name, found.iter().map(tell).collect::<String>()))
}

fn checked(mut job: StreamJob, defaults: &Defaults) -> Result<Wanted, String> {
    // What only the API server knows.
    job.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    job.metadata.uid.get_or_insert_with(|| "plan".to_owned());
    let references = References {
        sql: job.spec.sql_from.as_ref().map(|from| {
            // The text is not looked at here; that another one is named counts as another one.
            let key = &from.config_map_key_ref;
            Ok(format!("-- of the ConfigMap {}, key {}", key.name, key.key))
        }),
        savepoint: None,
        started: true,
    };
    validate(&job, &references, defaults).map_err(|problems| listed(&problems))
}

fn listed(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|p| format!("\n  {p}")).collect();
    format!("the manifest has problems:{}", lines.concat())
}
