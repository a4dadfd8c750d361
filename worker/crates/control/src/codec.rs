//! Frames to bytes and back, as tonic wants it.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::frame::Frame;

/// Sends frames of one kind and receives frames of the other.
pub(crate) struct Frames<Out, In>(PhantomData<fn(Out) -> In>);

impl<Out, In> Frames<Out, In> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<Out: Frame, In: Frame> Codec for Frames<Out, In> {
    type Encode = Out;
    type Decode = In;
    type Encoder = Sent<Out>;
    type Decoder = Received<In>;

    fn encoder(&mut self) -> Sent<Out> {
        Sent(PhantomData)
    }

    fn decoder(&mut self) -> Received<In> {
        Received(PhantomData)
    }
}

pub(crate) struct Sent<T>(PhantomData<fn(T)>);

impl<T: Frame> Encoder for Sent<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, frame: T, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Message::encode(&frame, to).map_err(|e| Status::internal(format!("a frame can't be written: {e}")))
    }
}

pub(crate) struct Received<T>(PhantomData<fn() -> T>);

impl<T: Frame> Decoder for Received<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        // The error names the message and the field.
        T::decode(from)
            .map(Some)
            .map_err(|e| Status::invalid_argument(format!("a frame that can't be read: {e}")))
    }
}
