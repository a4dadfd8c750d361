//! An S3 server in the story's namespace: versitygw over a volume that is looked into through a second container.

use serde_json::{Value, json};

use crate::LONG;
use crate::kubectl::Kubectl;

/// The bucket that is there from the start.
pub const BUCKET: &str = "weir";
/// The Secret that jobs name for their storage.
pub const SECRET: &str = "s3-keys";
/// Where it is, from within the namespace.
pub const ENDPOINT: &str = "http://s3:7070";

/// The same by way of a proxy that can be told to make trouble.
pub const TROUBLE: &str = "http://s3:7071";

const FILES: &str = "weir.local/files:1";
const SERVER: &str = "weir.local/versitygw:1.8.0";

/// Starts it.
pub fn start(kubectl: &Kubectl) {
    kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [secret(), service(), pod()]}));
}

/// Waits until it takes requests.
pub fn ready(kubectl: &Kubectl) {
    kubectl.until_one("the S3 server is ready", "pods", "s3", LONG, |pod| {
        crate::story::condition(pod, "Ready") == Some("True")
    });
}

/// Tells the proxy at [`TROUBLE`] what to do with requests from now on: `503` refuses them, a number of milliseconds delays
/// them, nothing passes them on.
pub fn trouble(kubectl: &Kubectl, what: &str) {
    kubectl.run(&["exec", "s3", "--container", "files", "--", "/files", "say", "/control/trouble", what]);
}

/// What is in the visible files of a folder of the bucket.
pub fn read(kubectl: &Kubectl, folder: &str) -> Result<String, String> {
    let folder = format!("/data/{BUCKET}/{folder}");
    kubectl.attempt(&["exec", "s3", "--container", "files", "--", "/files", "cat", &folder])
}

/// Sizes and names of all files below a folder of the bucket.
pub fn list(kubectl: &Kubectl, folder: &str) -> Result<String, String> {
    let folder = format!("/data/{BUCKET}/{folder}");
    kubectl.attempt(&["exec", "s3", "--container", "files", "--", "/files", "list", &folder])
}

fn secret() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET},
        "stringData": {"AWS_ACCESS_KEY_ID": "weirtest", "AWS_SECRET_ACCESS_KEY": "weirtestsecret"}
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s3"},
        "spec": {"selector": {"app": "s3"}, "ports": [{"name": "s3", "port": 7070}, {"name": "trouble", "port": 7071}]}
    })
}

fn pod() -> Value {
    let key = |name: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": key}}});
    let restricted = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}
    });
    let container = |name: &str, image: &str, args: Value| {
        json!({
            "name": name, "image": image, "imagePullPolicy": "IfNotPresent", "args": args,
            "securityContext": restricted, "volumeMounts": [
                {"name": "data", "mountPath": "/data"}, {"name": "control", "mountPath": "/control"}
            ]
        })
    };
    let mut server = container("server", SERVER, json!(["--port", ":7070", "--quiet", "posix", "/data"]));
    server["env"] =
        json!([key("ROOT_ACCESS_KEY", "AWS_ACCESS_KEY_ID"), key("ROOT_SECRET_KEY", "AWS_SECRET_ACCESS_KEY")]);
    server["readinessProbe"] = json!({"tcpSocket": {"port": 7070}, "periodSeconds": 1});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "s3", "labels": {"app": "s3"}},
        "spec": {
            // A story is about Weir without a node, not about Weir without its bucket.
            "nodeSelector": {"weir.dev/e2e-infrastructure": "true"},
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"}
            },
            "initContainers": [container("bucket", FILES, json!(["make", format!("/data/{BUCKET}")]))],
            "containers": [
                server,
                container("files", FILES, json!(["wait"])),
                container("trouble", FILES, json!(["proxy", ":7071", "http://localhost:7070", "/control/trouble"]))
            ],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "control", "emptyDir": {}}]
        }
    })
}
