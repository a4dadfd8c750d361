//! Jobs of stories: bids of nexmark, counted per auction in windows of a second, into files of the bucket.

use serde_json::{Map, Value, json};

use crate::bucket::{BUCKET, ENDPOINT, SECRET, TROUBLE};

/// Events that a job of a story reads.
pub const EVENTS: u64 = 45_000;
/// How many of them a second, if a job says nothing: slow enough that what is done to it happens while it runs.
const RATE: u64 = 1_000;

/// A StreamJob.
#[derive(Debug, Clone)]
pub struct Job {
    name: String,
    out: String,
    rate: u64,
    endpoint: &'static str,
    spec: Value,
}

impl Job {
    /// Two workers of a slot each.
    pub fn new(name: &str) -> Self {
        let spec = json!({
            "parallelism": 2,
            "worker": {
                "taskSlots": 1,
                "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}
            },
            "checkpoint": {
                "storage": format!("s3://{BUCKET}/jobs"), "storageSecretRef": {"name": SECRET},
                "endpoint": ENDPOINT, "region": "us-east-1", "pathStyle": true, "interval": "1s"
            },
            "restart": {"strategy": "ExponentialDelay", "initialDelay": "200ms", "maxDelay": "2s"}
        });
        Self { name: name.to_owned(), out: "counts".to_owned(), rate: RATE, endpoint: ENDPOINT, spec }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets a field of the spec: `worker.taskSlots`.
    #[must_use]
    pub fn with(mut self, path: &str, value: Value) -> Self {
        let mut at = &mut self.spec;
        for part in path.split('.') {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at = &mut at[part];
        }
        *at = value;
        self
    }

    /// Reads at another pace, in events per second.
    #[must_use]
    pub fn at_rate(mut self, rate: u64) -> Self {
        self.rate = rate;
        self
    }

    /// Reaches the bucket through what can be told to make trouble: [`bucket::trouble`](crate::bucket::trouble).
    #[must_use]
    pub fn through_trouble(mut self) -> Self {
        self.endpoint = TROUBLE;
        self.with("checkpoint.endpoint", json!(TROUBLE))
    }

    /// Results go into another folder.
    #[must_use]
    pub fn into_folder(mut self, out: &str) -> Self {
        out.clone_into(&mut self.out);
        self
    }

    /// The job of this name in a manifest of the repository, which gives the same result.
    pub fn of_example(name: &str, folder: &str) -> (Self, std::path::PathBuf) {
        (Self::new(name), crate::tools::root().join("examples").join(folder).join("job.yaml"))
    }

    /// The folder of the bucket that its results go to.
    pub fn folder(&self) -> String {
        format!("out/{}/{}", self.name, self.out)
    }

    /// What is applied.
    pub fn manifest(&self) -> Value {
        let mut spec = self.spec.clone();
        if spec.get("sql").is_none() && spec.get("sqlFrom").is_none() {
            spec["sql"] = json!(self.sql());
        }
        json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob", "metadata": {"name": self.name}, "spec": spec
        })
    }

    fn sql(&self) -> String {
        let Self { rate, endpoint, .. } = self;
        let folder = self.folder();
        let pace = format!("'max-emit-speed' = 'false', 'next-event.rate' = '{rate}', ");
        source(EVENTS, &pace)
            + &format!(
                "CREATE TABLE counts (window_start TIMESTAMP(3), auction BIGINT, bids BIGINT, total BIGINT) WITH (
  'connector' = 'filesystem', 'path' = 's3://{BUCKET}/{folder}', 'format' = 'json',
  's3.endpoint' = '{endpoint}', 's3.region' = 'us-east-1');
INSERT INTO counts SELECT window_start, auction, COUNT(*), SUM(price)
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(at), INTERVAL '1' SECOND)) GROUP BY window_start, window_end, auction;
"
            )
    }
}

/// The bids among so many events, one event per millisecond of event time.
pub(crate) fn source(events: u64, pace: &str) -> String {
    format!(
        "CREATE TABLE nexmark (
  event_type INT,
  bid ROW<auction BIGINT, price BIGINT, `dateTime` TIMESTAMP(3)>,
  at AS bid.`dateTime`,
  WATERMARK FOR at AS at - INTERVAL '1' SECOND
) WITH ('connector' = 'nexmark', {pace}'first-event.rate' = '1000', 'events.num' = '{events}');
CREATE VIEW bid AS SELECT bid.auction AS auction, bid.price AS price, at FROM nexmark WHERE event_type = 2;
"
    )
}
