//! From frames to values of the protocol and back: strict, with errors that name the field.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_protocol::{Attempt, Execution, JobUid, Registration, Stamp};

use crate::frame::Envelope;

/// A frame that says something that it must not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// No content, or one that this version does not know.
    #[error("a frame without a content that this version knows")]
    Empty,
    /// A frame that may not come at this point.
    #[error("{got} where {expected} is expected")]
    Order { got: &'static str, expected: &'static str },
    /// A field.
    #[error("{field}: {message}")]
    Field { field: String, message: String },
}

impl WireError {
    fn field(field: impl Into<String>, message: impl ToString) -> Self {
        Self::Field { field: field.into(), message: message.to_string() }
    }
}

/// A value as the JSON that a frame carries.
pub(crate) fn to_json(value: &impl Serialize) -> Result<Bytes, WireError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|e| WireError::field("body", e))
}

/// The value in a field of a frame.
pub(crate) fn of_json<T: DeserializeOwned>(name: &'static str, json: &[u8]) -> Result<T, WireError> {
    let mut from = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut from).map_err(|e| {
        let path = e.path().to_string();
        let field = if path == "." { name.to_owned() } else { format!("{name}.{path}") };
        WireError::field(field, e.into_inner())
    })?;
    from.end().map_err(|e| WireError::field(name, e))?;
    Ok(value)
}

/// The frame of a message.
pub(crate) fn seal(stamp: &Stamp, message: &impl Serialize) -> Result<Envelope, WireError> {
    Ok(Envelope {
        job: stamp.job.as_str().to_owned(),
        attempt: stamp.attempt.0,
        execution: stamp.execution.0,
        body: to_json(message)?,
    })
}

/// The message of a frame.
pub(crate) fn open<T: DeserializeOwned>(envelope: Envelope) -> Result<(Stamp, T), WireError> {
    let job = JobUid::new(envelope.job).map_err(|e| WireError::field("job", e))?;
    let message = of_json("body", &envelope.body)?;
    Ok((Stamp { job, attempt: Attempt(envelope.attempt), execution: Execution(envelope.execution) }, message))
}

/// Slots that one worker may offer.
const SLOTS: std::ops::RangeInclusive<u32> = 1..=4096;
/// Bytes of a name.
const NAME_BYTES: usize = 256;

/// What a worker says of itself, if it can be true.
pub(crate) fn registration(json: &[u8]) -> Result<Registration, WireError> {
    let registration: Registration = of_json("registration", json)?;
    let field = |name: &str, message: String| Err(WireError::field(format!("registration.{name}"), message));
    if !SLOTS.contains(&registration.slots) {
        let message =
            format!("a worker has {} to {} slots; got {}", SLOTS.start(), SLOTS.end(), registration.slots);
        return field("slots", message);
    }
    let process = &registration.process;
    if process.is_empty() || process.len() > NAME_BYTES {
        return field("process", format!("1 to {NAME_BYTES} bytes; got {}", process.len()));
    }
    if registration.name.len() > NAME_BYTES {
        return field("name", format!("at most {NAME_BYTES} bytes; got {}", registration.name.len()));
    }
    if let Some(address) = &registration.data_address {
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        let good = port.is_some_and(|p| p.parse::<u16>().is_ok_and(|p| p > 0));
        if !good || address.len() > NAME_BYTES {
            return field("dataAddress", format!("host:port is expected; got {address:?}"));
        }
    }
    Ok(registration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_protocol::{FromWorker, ToWorker};

    fn stamp() -> Stamp {
        Stamp { job: JobUid::new("bids").expect("a uid"), attempt: Attempt(3), execution: Execution(2) }
    }

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let sent = ToWorker::Adopt { deployed: stamp() };
        let opened: (Stamp, ToWorker) = open(seal(&stamp(), &sent).expect("sealed")).expect("opened");
        assert_eq!(opened, (stamp(), sent));
    }

    #[test]
    fn what_is_wrong_with_a_message_is_named() {
        let check = |job: &str, body: &'static str, expected: &str| {
            let envelope = Envelope {
                job: job.to_owned(),
                attempt: 1,
                execution: 1,
                body: Bytes::from_static(body.as_bytes()),
            };
            let error = open::<FromWorker>(envelope).expect_err(body).to_string();
            assert!(error.contains(expected), "{body}: {error}");
        };
        check("Bids", r#"{"type":"stopped"}"#, "job: a job uid is 1 to 63 characters");
        check("bids", "", "body: EOF");
        check("bids", r#"{"type":"stopped"} x"#, "body: trailing characters");
        check("bids", r#"{"type":"fallen"}"#, "unknown variant `fallen`");
        check("bids", r#"{"type":"committed"}"#, "body: missing field `id`");
        check("bids", r#"{"type":"committed","id":-1}"#, "body: invalid value: integer `-1`");
    }

    #[test]
    fn a_registration_that_can_not_be_true_is_refused() {
        let good = Registration {
            process: "p".to_owned(),
            name: "host".to_owned(),
            slots: 2,
            data_address: Some("[::1]:70".to_owned()),
            running: None,
            draining: false,
        };
        let read = |r: &Registration| registration(&to_json(r).expect("JSON"));
        assert_eq!(read(&good), Ok(good.clone()));
        let long = "x".repeat(300);
        let bad = [
            (Registration { slots: 0, ..good.clone() }, "registration.slots: a worker has 1 to"),
            (Registration { process: String::new(), ..good.clone() }, "registration.process"),
            (Registration { name: long, ..good.clone() }, "registration.name"),
            (
                Registration { data_address: Some("host".to_owned()), ..good.clone() },
                "registration.dataAddress",
            ),
            (
                Registration { data_address: Some(":1".to_owned()), ..good.clone() },
                "registration.dataAddress",
            ),
            (Registration { data_address: Some("h:0".to_owned()), ..good }, "registration.dataAddress"),
        ];
        for (bad, expected) in bad {
            let error = read(&bad).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
