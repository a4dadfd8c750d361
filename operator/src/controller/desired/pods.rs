//! The pods of a job: its coordinator, its workers, and one that deletes a savepoint.
//!
//! All pass the Pod Security Standard `restricted`: no user with rights, no way to more, a root file system that
//! is only read, no token of the API.

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapKeySelector, ConfigMapVolumeSource, Container, ContainerPort,
    EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath, LocalObjectReference,
    ObjectFieldSelector, Pod, PodSecurityContext, PodSpec, Probe, ResourceRequirements, SeccompProfile,
    SecretKeySelector, SecretVolumeSource, SecurityContext, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weir_crds::WorkerSpec;

use super::config_map::JOB_FILE;
use super::secret;
use crate::controller::validate::Wanted;
use crate::names::{ADMIN_PORT, COMPONENT, CONTROL_PORT, EXCHANGE_PORT, HTTP_PORT, INDEX, SETTINGS, VERSION};

/// The user of all containers: nobody's, as in images without a distribution.
const USER: i64 = 65_532;
const CERTIFICATES: &str = "/etc/weir/tls";
const JOB: &str = "/etc/weir/job";
const SCRATCH: &str = "/var/cache/weir";
/// How much of its state a worker keeps beside it, at most.
const SCRATCH_LIMIT: &str = "10Gi";
/// What the subtasks of a worker may take to move when its pod is to go, and the pod to end.
const DRAIN: &str = "60s";
const GRACE_SECONDS: i64 = 90;
/// How long a pod stays on a node that does not answer.
const UNREACHABLE_SECONDS: i64 = 10;

/// The coordinator's pod. `fresh_after`: the attempt whose state an upgrade without state has given up.
pub fn coordinator(wanted: &Wanted, incarnation: u32, fresh_after: Option<i64>) -> Pod {
    let at = |port: u16| format!("0.0.0.0:{port}");
    let mut args = vec![
        "coordinator".to_owned(),
        format!("{JOB}/{JOB_FILE}"),
        "--stay".to_owned(),
        format!("--listen={}", at(CONTROL_PORT)),
        format!("--http={}", at(HTTP_PORT)),
        format!("--admin={}", at(ADMIN_PORT)),
    ];
    args.extend(fresh_after.map(|attempt| format!("--fresh-after={attempt}")));
    let resources = wanted.spec.coordinator.as_ref().and_then(|c| c.resources.clone());
    let mut container = container(wanted, "coordinator", args, resources);
    let ports = [("control", CONTROL_PORT), ("http", HTTP_PORT), ("admin", ADMIN_PORT)];
    container.ports = Some(ports.map(|(name, port)| container_port(name, port)).into());
    container.readiness_probe = Some(Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/healthz".to_owned()),
            port: IntOrString::Int(i32::from(HTTP_PORT)),
            ..HTTPGetAction::default()
        }),
        // Workers find it when it is ready.
        period_seconds: Some(1),
        ..Probe::default()
    });
    container.volume_mounts.get_or_insert_default().push(mount("job", JOB, true));
    let mut pod = pod(wanted, "coordinator", wanted.identity.coordinator(incarnation), container);
    pod.metadata.labels.get_or_insert_default().insert(SETTINGS.to_owned(), wanted.settings.clone());
    let spec = pod.spec.get_or_insert_default();
    spec.volumes.get_or_insert_default().push(Volume {
        name: "job".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: wanted.identity.config_map(&wanted.version),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    });
    pod
}

/// A worker's pod.
pub fn worker(wanted: &Wanted, index: u32, incarnation: u32) -> Pod {
    let identity = &wanted.identity;
    let args = vec![
        "worker".to_owned(),
        format!("--coordinator={}.{}.svc:{CONTROL_PORT}", identity.base(), identity.namespace),
        format!("--uid={}", identity.uid),
        format!("--slots={}", wanted.config.task_slots),
        format!("--listen=0.0.0.0:{EXCHANGE_PORT}"),
        format!("--scratch={SCRATCH}"),
        format!("--scratch-limit={SCRATCH_LIMIT}"),
        format!("--drain-timeout={DRAIN}"),
    ];
    let mut container = container(wanted, "worker", args, wanted.worker().resources);
    container.ports = Some(vec![container_port("exchange", EXCHANGE_PORT)]);
    container.env.get_or_insert_default().push(EnvVar {
        name: "WEIR_ADVERTISE".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: "status.podIP".to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    });
    container.volume_mounts.get_or_insert_default().push(mount("scratch", SCRATCH, false));
    let mut pod = pod(wanted, "worker", identity.worker(index, incarnation), container);
    pod.metadata.labels.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    pod.spec
        .get_or_insert_default()
        .volumes
        .get_or_insert_default()
        .push(empty_dir("scratch", Some(SCRATCH_LIMIT)));
    pod
}

/// A pod that deletes a savepoint. The user and the keys are the job's.
pub fn savepoint_eraser(wanted: &Wanted, name: String, place: &str) -> Pod {
    eraser(wanted, name, &["savepoint", "delete", place])
}

/// A pod that deletes all that the job has in its storage but savepoints.
pub fn state_eraser(wanted: &Wanted) -> Pod {
    let config = &wanted.config;
    let uid = format!("--uid={}", config.uid);
    let args = ["checkpoints", "delete", "--all", &config.checkpoint.storage.url, &uid];
    eraser(wanted, wanted.identity.state_eraser(), &args)
}

fn eraser(wanted: &Wanted, name: String, args: &[&str]) -> Pod {
    let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let storage = &wanted.config.checkpoint.storage;
    args.extend(storage.endpoint.iter().map(|endpoint| format!("--endpoint={endpoint}")));
    args.extend(storage.region.iter().map(|region| format!("--region={region}")));
    let resources = wanted.spec.coordinator.as_ref().and_then(|c| c.resources.clone());
    let container = container(wanted, "eraser", args, resources);
    let mut pod = pod(wanted, "eraser", name, container);
    let spec = pod.spec.get_or_insert_default();
    spec.restart_policy = Some("OnFailure".to_owned());
    spec.active_deadline_seconds = Some(600);
    pod
}

fn pod(wanted: &Wanted, component: &str, name: String, container: Container) -> Pod {
    let worker = wanted.worker();
    let mut metadata = wanted.identity.metadata(name);
    let mut labels = worker.labels.clone().unwrap_or_default();
    // Ours win over those of the user: by them pods are found.
    labels.extend(metadata.labels.take().unwrap_or_default());
    labels.insert(COMPONENT.to_owned(), component.to_owned());
    labels.insert(VERSION.to_owned(), wanted.version.clone());
    metadata.labels = Some(labels);
    metadata.annotations = worker.annotations.clone().filter(|a| !a.is_empty());
    let account = worker.service_account_name.clone().unwrap_or_else(|| wanted.identity.base());
    let secrets = worker.image_pull_secrets.iter().flatten();
    let secrets: Vec<_> = secrets.map(|s| LocalObjectReference { name: s.name.clone() }).collect();
    Pod {
        metadata,
        spec: Some(PodSpec {
            containers: vec![container],
            volumes: Some(volumes(wanted, &worker)),
            restart_policy: Some("Always".to_owned()),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            service_account_name: Some(account),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            image_pull_secrets: (!secrets.is_empty()).then_some(secrets),
            node_selector: worker.node_selector.clone(),
            affinity: worker.affinity.clone(),
            tolerations: Some(tolerations(&worker)),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            ..PodSpec::default()
        }),
        ..Pod::default()
    }
}

/// Nodes that do not answer are left soon: a zombie does no harm, and a job that waits does.
fn tolerations(worker: &WorkerSpec) -> Vec<Toleration> {
    let mut all = worker.tolerations.clone().unwrap_or_default();
    for taint in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !all.iter().any(|t| t.key.as_deref() == Some(taint)) {
            all.push(Toleration {
                key: Some(taint.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(UNREACHABLE_SECONDS),
                ..Toleration::default()
            });
        }
    }
    all
}

fn container(
    wanted: &Wanted,
    name: &str,
    mut args: Vec<String>,
    resources: Option<ResourceRequirements>,
) -> Container {
    let worker = wanted.worker();
    if name != "eraser" {
        args.extend(
            [("ca", "ca.pem"), ("cert", "process.pem"), ("key", "process.key")]
                .map(|(option, file)| format!("--tls-{option}={CERTIFICATES}/{file}")),
        );
    }
    args.extend(["--log=info", "--log-format=json"].map(str::to_owned));
    let mut mounts = vec![mount("tls", CERTIFICATES, true), mount("tmp", "/tmp", false)];
    for (i, volume) in worker.volumes.iter().flatten().enumerate() {
        mounts.push(mount(&format!("user-{i}"), &volume.mount_path, volume.empty_dir.is_none()));
    }
    Container {
        name: name.to_owned(),
        image: worker.image.clone(),
        image_pull_policy: worker.image_pull_policy.map(|policy| format!("{policy:?}")),
        args: Some(args),
        env: Some(env(wanted, &worker)),
        resources,
        volume_mounts: Some(mounts),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        // The last words of a process that ends with an error are how the operator knows why.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn env(wanted: &Wanted, worker: &WorkerSpec) -> Vec<EnvVar> {
    let mut all: Vec<EnvVar> = Vec::new();
    let secret = wanted.spec.checkpoint.as_ref().and_then(|c| c.storage_secret_ref.as_ref());
    for (key, optional) in
        [("AWS_ACCESS_KEY_ID", false), ("AWS_SECRET_ACCESS_KEY", false), ("AWS_SESSION_TOKEN", true)]
    {
        all.extend(secret.map(|secret| from_secret(key, &secret.name, key, optional.then_some(true))));
    }
    for variable in worker.env.iter().flatten() {
        let from = variable.value_from.as_ref();
        let secret = from.and_then(|f| f.secret_key_ref.as_ref());
        let config_map = from.and_then(|f| f.config_map_key_ref.as_ref());
        all.push(match (secret, config_map) {
            (Some(key), _) => from_secret(&variable.name, &key.name, &key.key, None),
            (None, Some(key)) => EnvVar {
                name: variable.name.clone(),
                value_from: Some(EnvVarSource {
                    config_map_key_ref: Some(ConfigMapKeySelector {
                        name: key.name.clone(),
                        key: key.key.clone(),
                        optional: None,
                    }),
                    ..EnvVarSource::default()
                }),
                ..EnvVar::default()
            },
            (None, None) => {
                EnvVar { name: variable.name.clone(), value: variable.value.clone(), ..EnvVar::default() }
            }
        });
    }
    all
}

fn from_secret(name: &str, secret: &str, key: &str, optional: Option<bool>) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.to_owned(),
                key: key.to_owned(),
                optional,
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn volumes(wanted: &Wanted, worker: &WorkerSpec) -> Vec<Volume> {
    let files = ["ca.pem", "process.pem", "process.key"];
    let items = files.map(|file| KeyToPath { key: file.to_owned(), path: file.to_owned(), mode: None });
    let mut all = vec![
        Volume {
            name: "tls".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret::name(wanted)),
                default_mode: Some(0o440),
                items: Some(items.into()),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
        empty_dir("tmp", Some("1Gi")),
    ];
    for (i, volume) in worker.volumes.iter().flatten().enumerate() {
        let name = format!("user-{i}");
        all.push(match (&volume.secret, &volume.config_map) {
            (Some(secret), _) => Volume {
                name,
                secret: Some(SecretVolumeSource {
                    secret_name: Some(secret.name.clone()),
                    default_mode: Some(0o440),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
            (None, Some(map)) => Volume {
                name,
                config_map: Some(ConfigMapVolumeSource {
                    name: map.name.clone(),
                    ..ConfigMapVolumeSource::default()
                }),
                ..Volume::default()
            },
            (None, None) => empty_dir(&name, volume.empty_dir.as_deref()),
        });
    }
    all
}

fn empty_dir(name: &str, limit: Option<&str>) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            size_limit: limit.map(|limit| Quantity(limit.to_owned())),
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn container_port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}
