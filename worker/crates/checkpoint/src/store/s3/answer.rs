//! What an answer of S3 says about the outcome of a request.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::store::{StoreError, StoreErrorKind};

/// A clear answer.
pub(super) enum Answer<T> {
    /// Done.
    Done(T),
    /// There is no such object (or upload).
    Absent,
    /// The condition does not hold, with the server's words.
    Refused(String),
}

impl<T> Answer<T> {
    pub(super) fn of<E>(
        sent: Result<T, SdkError<E, HttpResponse>>,
        operation: &'static str,
        url: &str,
        key: &str,
    ) -> Result<Self, StoreError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let error = match sent {
            Ok(output) => return Ok(Self::Done(output)),
            Err(error) => error,
        };
        let fail = |kind, message: String| Err(StoreError::new(kind, operation, url, key, message));
        let Some(status) = error.raw_response().map(|r| r.status().as_u16()) else {
            let kind = match error {
                SdkError::ConstructionFailure(_) => StoreErrorKind::Failed,
                _ => StoreErrorKind::Unknown,
            };
            return fail(kind, chain(&error));
        };
        let code = error.code().unwrap_or_default().to_owned();
        let message = match (error.code(), error.message()) {
            (Some(code), Some(message)) => format!("{code} ({status}): {message}"),
            (Some(code), None) => format!("{code} ({status})"),
            _ => format!("status {status}"),
        };
        match classify(status, &code) {
            Class::Absent => Ok(Self::Absent),
            Class::Refused => Ok(Self::Refused(message)),
            Class::Error(kind) => fail(kind, message),
        }
    }

    /// For requests without a condition: anything but done is an error.
    pub(super) fn done(self, operation: &'static str, url: &str, key: &str) -> Result<T, StoreError> {
        let message = match self {
            Self::Done(output) => return Ok(output),
            Self::Absent => "there is no such object or upload".to_owned(),
            Self::Refused(why) => why,
        };
        Err(StoreError::new(StoreErrorKind::Failed, operation, url, key, message))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Class {
    Absent,
    Refused,
    Error(StoreErrorKind),
}

/// Only what proves that a request was not done is a definite answer.
fn classify(status: u16, code: &str) -> Class {
    match (status, code) {
        (404, "NoSuchBucket") => Class::Error(StoreErrorKind::NotFound),
        (404, _) => Class::Absent,
        (412, _) => Class::Refused,
        (401 | 403, "RequestTimeTooSkewed") => Class::Error(StoreErrorKind::Failed),
        (401 | 403, _) => Class::Error(StoreErrorKind::Denied),
        (400, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
            Class::Error(StoreErrorKind::Denied)
        }
        (400, "RequestTimeout") => Class::Error(StoreErrorKind::Unknown),
        // A conflict is a race or a lost one (ConditionalRequestConflict); too many requests, a busy
        // server and everything unheard of may or may not have been done (F4).
        (408 | 409 | 425 | 429, _) => Class::Error(StoreErrorKind::Unknown),
        (400..=499, _) => Class::Error(StoreErrorKind::Failed),
        _ => Class::Error(StoreErrorKind::Unknown),
    }
}

/// An error with its causes, each said once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_only_a_clear_answer_is_taken_as_clear() {
        use StoreErrorKind::{Denied, Failed, NotFound, Unknown};
        for (status, code, class) in [
            (404, "NoSuchKey", Class::Absent),
            (404, "", Class::Absent),
            (404, "NoSuchBucket", Class::Error(NotFound)),
            (412, "PreconditionFailed", Class::Refused),
            (409, "ConditionalRequestConflict", Class::Error(Unknown)),
            (409, "OperationAborted", Class::Error(Unknown)),
            (503, "SlowDown", Class::Error(Unknown)),
            (500, "InternalError", Class::Error(Unknown)),
            (200, "InternalError", Class::Error(Unknown)),
            (429, "", Class::Error(Unknown)),
            (403, "SignatureDoesNotMatch", Class::Error(Denied)),
            (400, "ExpiredToken", Class::Error(Denied)),
            (400, "InvalidArgument", Class::Error(Failed)),
            (405, "MethodNotAllowed", Class::Error(Failed)),
            (501, "NotImplemented", Class::Error(Unknown)),
        ] {
            assert_eq!(classify(status, code), class, "{status} {code}");
        }
    }
}
