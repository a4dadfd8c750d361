//! From a frame to what flows over an edge. Pure.

use arrow_buffer::Buffer;
use arrow_schema::SchemaRef;
use weir_protocol::Failure;

use super::frame::{HEADER, Header, Kind};
use super::rows::Form;
use super::{Malformed, frame};
use crate::queue::Message;

/// What a frame of a channel whose rows have this form brings.
pub(super) fn message(header: &Header, payload: Vec<u8>, form: &Form) -> Result<Message, Malformed> {
    Ok(match header.kind {
        Kind::Rows | Kind::Changes => {
            let payload = Buffer::from_vec(payload);
            let changes = header.kind == Kind::Changes;
            Message::Chunk(form.decode(changes, &payload, header.metadata as usize)?)
        }
        Kind::Watermark => Message::Watermark(frame::decode_watermark(&payload)?),
        Kind::Idle => Message::Idle,
        Kind::Active => Message::Active,
        Kind::Barrier => Message::Barrier(frame::decode_barrier(&payload)?),
        Kind::Ping | Kind::Open | Kind::Grant => return Err(Malformed("a frame that goes the other way")),
    })
}

/// Decodes bytes as a receiver does what a peer sends over a channel, without a connection: for tests that feed it
/// anything. `limit`: most bytes of a payload. Gives the number of whole frames before the end or the first that is
/// none.
///
/// # Errors
/// Rows of a schema that can't be exchanged.
#[doc(hidden)]
pub fn decode_frames(bytes: &[u8], schema: &SchemaRef, limit: usize) -> Result<usize, Failure> {
    let form = Form::new(schema)?;
    let (mut left, mut frames) = (bytes, 0);
    while let Some((header, rest)) = left.split_first_chunk::<HEADER>() {
        let Ok(header) = Header::decode(header, limit) else { break };
        let Some((payload, rest)) = rest.split_at_checked(header.length as usize) else { break };
        let control = matches!(header.kind, Kind::Ping | Kind::Open);
        if !control && message(&header, payload.to_vec(), &form).is_err() {
            break;
        }
        (left, frames) = (rest, frames + 1);
    }
    Ok(frames)
}
