//! How a bucket is reached: endpoint, region, credentials, timeouts, TLS.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_smithy_http_client::{Builder as HttpBuilder, tls};

use super::S3;

/// Keys given by hand, in place of the usual chain. Its text form never shows them.
#[derive(Clone)]
pub struct Credentials {
    /// The access key's name.
    pub access_key: String,
    /// The secret.
    pub secret_key: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// How a bucket is reached.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// The bucket.
    pub bucket: String,
    /// Another endpoint than AWS's.
    pub endpoint: Option<String>,
    /// The region; from the usual chain if absent, and `us-east-1` if that has none.
    pub region: Option<String>,
    /// The bucket in the path instead of the host name.
    pub path_style: bool,
    /// Keys; from the usual chain (environment, profile, web identity, …) if absent.
    pub credentials: Option<Credentials>,
}

/// To a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// To the first byte of an answer.
const FIRST_BYTE: Duration = Duration::from_secs(20);
/// One try of a request, body and all.
const TRY: Duration = Duration::from_secs(60);
/// All tries of a request.
const ALL: Duration = Duration::from_secs(180);
const TRIES: u32 = 5;
/// Before the second try, in the mean; doubled before each further one. The SDK's own second is as long as
/// a whole recovery may take.
const BACKOFF: Duration = Duration::from_millis(50);

impl S3 {
    /// Prepares access. Nothing is sent to the bucket yet; credentials are fetched when they are needed.
    pub async fn connect(options: S3Options) -> Self {
        let http =
            HttpBuilder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring));
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http.build_https())
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES).with_initial_backoff(BACKOFF))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT)
                    .read_timeout(FIRST_BYTE)
                    .operation_attempt_timeout(TRY)
                    .operation_timeout(ALL)
                    .build(),
            );
        if let Some(region) = options.region.clone() {
            loader = loader.region(Region::new(region));
        }
        if let Some(keys) = &options.credentials {
            let keys = aws_sdk_s3::config::Credentials::new(
                &keys.access_key,
                &keys.secret_key,
                None,
                None,
                "options",
            );
            loader = loader.credentials_provider(keys);
        }
        let shared = loader.load().await;
        let mut config = aws_sdk_s3::config::Builder::from(&shared).force_path_style(options.path_style);
        if let Some(endpoint) = &options.endpoint {
            config = config.endpoint_url(endpoint);
        }
        if shared.region().is_none() {
            config = config.region(Region::new("us-east-1"));
        }
        let once = config.clone().retry_config(RetryConfig::disabled()).build();
        Self {
            retrying: aws_sdk_s3::Client::from_conf(config.build()),
            once: aws_sdk_s3::Client::from_conf(once),
            url: format!("s3://{}", options.bucket),
            bucket: options.bucket,
        }
    }
}
