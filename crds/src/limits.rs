//! The numbers and the shapes of text that a spec may hold. The schema carries the shapes as
//! patterns; `config` checks the same by code, with words that say what is allowed; a test holds
//! the two together.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Durations: `500ms`, `1m30s`.
pub const DURATION: &str = "^([0-9]{1,13}(ms|s|m|h|d))+$";
/// Sizes: `64Mi`, `2G`, `300`.
pub const SIZE: &str = "^[0-9]{1,18}(Ki|Mi|Gi|Ti|k|M|G|T)?$";
/// Where checkpoints go.
pub const STORAGE: &str =
    "^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?|file:///.+|memory://[A-Za-z0-9_-]{1,63})$";
/// The endpoint of an S3 server: no path, no credentials.
pub const ENDPOINT: &str = r"^https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?$";
/// A region's name.
pub const REGION: &str = "^[a-z0-9-]+$";
/// The name of a Kubernetes object (DNS subdomain).
pub const OBJECT_NAME: &str = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$";
/// A key of a Secret or ConfigMap.
pub const DATA_KEY: &str = "^[-._a-zA-Z0-9]+$";
/// An environment variable's name.
pub const ENV_NAME: &str = "^[A-Za-z_][A-Za-z0-9_]*$";
/// An absolute path in a pod.
pub const MOUNT_PATH: &str = "^/[^:]*$";
/// A savepoint's id.
pub const SAVEPOINT: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";

/// The longest name of a job, in characters: names of pods are made of it.
pub const NAME: usize = 52;
/// The longest SQL of a job, in bytes.
pub const SQL: usize = 256 * 1024;
/// The longest key prefix in a bucket, in bytes.
pub const PREFIX: usize = 256;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// `checkpoint.interval`
pub const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;
/// `checkpoint.timeout`
pub const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=DAY;
/// `checkpoint.minPause`
pub const MIN_PAUSE: RangeInclusive<Duration> = Duration::ZERO..=DAY;
/// `checkpoint.expiration`
pub const EXPIRATION: RangeInclusive<Duration> = SECOND..=Duration::from_secs(3650 * 86_400);
/// `state.ttl`
pub const TTL: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3650 * 86_400);
/// `restart.delay`
pub const DELAY: RangeInclusive<Duration> = Duration::ZERO..=DAY;
/// `restart.initialDelay` and `restart.maxDelay`
pub const BACKOFF: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;
/// `restart.resetAfter`
pub const RESET_AFTER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 86_400);
/// `restart.interval`
pub const FAILURE_INTERVAL: RangeInclusive<Duration> = SECOND..=Duration::from_secs(30 * 86_400);
/// `recovery.heartbeatInterval`
pub const HEARTBEAT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
/// `recovery.heartbeatTimeout`
pub const HEARTBEAT_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_secs(3600);
/// `recovery.coordinatorTimeout`
pub const COORDINATOR_TIMEOUT: RangeInclusive<Duration> = SECOND..=DAY;
/// `recovery.cancelTimeout`
pub const CANCEL_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;
/// `deletion.deadline`
pub const DEADLINE: RangeInclusive<Duration> = SECOND..=Duration::from_secs(3600);
/// `upgrade.stableWithin`
pub const STABLE_WITHIN: RangeInclusive<Duration> = SECOND..=DAY;
/// `state.memoryLimit`, in bytes
pub const MEMORY: RangeInclusive<u64> = (16 << 20)..=(16 << 40);
/// `checkpoint.maxUncheckpointedBytes`, in bytes
pub const UNCHECKPOINTED: RangeInclusive<u64> = (64 << 10)..=(16 << 40);
/// The size of a scratch folder, in bytes
pub const SCRATCH: RangeInclusive<u64> = (1 << 20)..=(16 << 40);
