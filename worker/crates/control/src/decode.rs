//! Frames as each end reads them, without a connection: for tests that feed it anything.

use prost::Message;
use weir_protocol::{FromWorker, JobConfig, ToWorker};

use crate::frame::{CoordinatorFrame, Envelope, FromCoordinatorFrame, FromWorkerFrame, WorkerFrame};
use crate::wire;

/// Whether a coordinator and whether a worker would understand these bytes as a frame. The first byte says whether the
/// rest is a frame, or the body of a message, which a frame of protocol buffers seldom brings by chance.
#[doc(hidden)]
pub fn decode_frame(bytes: &[u8]) -> (bool, bool) {
    match bytes.split_first() {
        Some((0, body)) => {
            let envelope =
                || Envelope { job: "job".to_owned(), attempt: 1, execution: 1, body: body.to_vec().into() };
            (wire::open::<FromWorker>(envelope()).is_ok(), wire::open::<ToWorker>(envelope()).is_ok())
        }
        Some((1, json)) => {
            (wire::registration(json).is_ok(), wire::of_json::<JobConfig>("config", json).is_ok())
        }
        _ => (from_worker(bytes), from_coordinator(bytes)),
    }
}

fn from_worker(bytes: &[u8]) -> bool {
    match WorkerFrame::decode(bytes).ok().and_then(|frame| frame.content) {
        Some(FromWorkerFrame::Hello(hello)) => wire::registration(&hello.registration).is_ok(),
        Some(FromWorkerFrame::Message(envelope)) => wire::open::<FromWorker>(envelope).is_ok(),
        Some(FromWorkerFrame::Heartbeat(_) | FromWorkerFrame::Draining(_)) => true,
        None => false,
    }
}

fn from_coordinator(bytes: &[u8]) -> bool {
    match CoordinatorFrame::decode(bytes).ok().and_then(|frame| frame.content) {
        Some(FromCoordinatorFrame::Welcome(welcome)) => {
            wire::of_json::<JobConfig>("config", &welcome.config).is_ok()
        }
        Some(FromCoordinatorFrame::Message(envelope)) => wire::open::<ToWorker>(envelope).is_ok(),
        Some(
            FromCoordinatorFrame::Refusal(_)
            | FromCoordinatorFrame::Heartbeat(_)
            | FromCoordinatorFrame::Release(_),
        ) => true,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::{CheckpointId, Stamp};
    use weir_runtime::{Random, SeededRandom};

    use super::*;
    use crate::tests::{config, registration, stamp};

    fn good() -> [Vec<u8>; 4] {
        let committed = FromWorker::Committed { id: CheckpointId(3) };
        let seal = |stamp: &Stamp| wire::seal(stamp, &committed).expect("sealed");
        let frame = WorkerFrame::from(FromWorkerFrame::Message(seal(&stamp())));
        let headed = |first: u8, body: &[u8]| [&[first], body].concat();
        [
            frame.encode_to_vec(),
            headed(0, &wire::to_json(&committed).expect("JSON")),
            headed(1, &wire::to_json(&registration("p")).expect("JSON")),
            headed(1, &wire::to_json(&config()).expect("JSON")),
        ]
    }

    #[test]
    fn good_frames_are_understood() {
        let understood = good().map(|bytes| decode_frame(&bytes));
        assert_eq!(understood.map(|(coordinator, worker)| coordinator || worker), [true; 4]);
    }

    #[test]
    fn whatever_comes_is_understood_or_refused_and_nothing_panics() {
        let random = SeededRandom::new(1);
        for bytes in good() {
            for _ in 0..2_000 {
                let mut bytes = bytes.clone();
                for _ in 0..=random.next_u64() % 3 {
                    let at = (random.next_u64() % bytes.len() as u64) as usize;
                    match random.next_u64() % 3 {
                        0 => bytes.truncate(at + 1),
                        1 => drop(bytes.splice(at..at, random.next_u64().to_le_bytes())),
                        _ => bytes[at] = random.next_u64() as u8,
                    }
                }
                decode_frame(&bytes);
            }
        }
    }
}
