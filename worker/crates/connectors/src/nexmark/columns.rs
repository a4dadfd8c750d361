//! Columns of events: only those that are asked for, only for the kinds of event that are asked for.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StructArray};
use arrow_array::TimestampMillisecondArray;
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, Fields, SchemaRef};
use weir_protocol::{Failure, FailureKind};

use super::event::{Event, Kind, Model};
use super::schema::Value;
use super::text;
use crate::sequence::Generate;

/// Rows of a batch at most.
const BATCH_ROWS: usize = 8_192;
/// Numbers that are looked at for one batch at most, if few of them give a row.
const BATCH_NUMBERS: u64 = 262_144;

/// What comes out in one column.
pub(super) enum Output {
    /// `event_type`.
    EventType,
    /// A field of a row column, as a flat column.
    Field(Value),
    /// A row column.
    Row(Kind, Fields, Vec<Value>),
}

/// Makes batches of a scan.
pub(super) struct Columns {
    pub(super) model: Model,
    pub(super) schema: SchemaRef,
    pub(super) outputs: Vec<Output>,
    /// Which kinds of event give a row, by the kind's number.
    pub(super) kinds: [bool; 3],
}

impl Generate for Columns {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn generate(&self, from: u64, stride: u64, end: u64) -> Result<(RecordBatch, u64), Failure> {
        let mut events = Vec::with_capacity(BATCH_ROWS);
        let numbers = (end - from).div_ceil(stride).min(BATCH_NUMBERS);
        let mut next = from;
        for event in self.model.walk(from, stride).take(numbers as usize) {
            next = event.number + stride;
            if self.kinds[event.kind as usize] {
                events.push(event);
                if events.len() == BATCH_ROWS {
                    break;
                }
            }
        }
        let rows = self.rows(&events).map_err(|e| Failure::new(FailureKind::Bug, format!("nexmark: {e}")))?;
        Ok((rows, next))
    }
}

impl Columns {
    fn rows(&self, events: &[Event]) -> Result<RecordBatch, ArrowError> {
        let columns = self.outputs.iter().map(|o| self.column(o, events)).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(events.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }

    fn column(&self, output: &Output, events: &[Event]) -> Result<ArrayRef, ArrowError> {
        Ok(match output {
            Output::EventType => {
                Arc::new(Int32Array::from_iter_values(events.iter().map(|e| e.kind as i32)))
            }
            Output::Field(value) => self.values(*value, events, self.validity(value.kind(), events)),
            Output::Row(kind, fields, values) => {
                let nulls = self.validity(*kind, events);
                let children = values.iter().map(|v| self.values(*v, events, nulls.clone())).collect();
                Arc::new(StructArray::try_new_with_length(fields.clone(), children, nulls, events.len())?)
            }
        })
    }

    /// Which rows have values of a kind; `None` if all.
    fn validity(&self, kind: Kind, events: &[Event]) -> Option<NullBuffer> {
        let only = Kind::ALL.iter().all(|k| *k == kind || !self.kinds[*k as usize]);
        (!only).then(|| events.iter().map(|e| e.kind == kind).collect())
    }

    fn values(&self, value: Value, events: &[Event], nulls: Option<NullBuffer>) -> ArrayRef {
        let model = &self.model;
        let mixed = nulls.is_some();
        // Monomorphic loops: the match is outside.
        macro_rules! numbers {
            ($array:ty, $of:expr) => {{
                let of = $of;
                let one = |e: &Event| if mixed && e.kind != value.kind() { 0 } else { of(e) };
                let values: Vec<i64> = events.iter().map(one).collect();
                Arc::new(<$array>::new(values.into(), nulls))
            }};
        }
        macro_rules! texts {
            ($write:expr) => {{
                let write = $write;
                Arc::new(strings(events, value.kind(), write))
            }};
        }
        match value {
            Value::PersonId => numbers!(Int64Array, |e: &Event| model.person_id(e)),
            Value::AuctionId => numbers!(Int64Array, |e: &Event| model.auction_id(e)),
            Value::InitialBid | Value::Price => numbers!(Int64Array, |e: &Event| model.price(e)),
            Value::Reserve => numbers!(Int64Array, |e: &Event| model.reserve(e)),
            Value::Seller => numbers!(Int64Array, |e: &Event| model.seller(e)),
            Value::Category => numbers!(Int64Array, |e: &Event| model.category(e)),
            Value::BidAuction => numbers!(Int64Array, |e: &Event| model.bid_auction(e)),
            Value::Bidder => numbers!(Int64Array, |e: &Event| model.bidder(e)),
            Value::PersonTime | Value::AuctionTime | Value::BidTime => {
                numbers!(TimestampMillisecondArray, |e: &Event| e.time)
            }
            Value::Expires => numbers!(TimestampMillisecondArray, |e: &Event| model.expires(e)),
            Value::Name => texts!(|o: &mut Vec<u8>, e: &Event| text::name(o, e)),
            Value::Email => texts!(|o: &mut Vec<u8>, e: &Event| text::email(o, e)),
            Value::CreditCard => texts!(|o: &mut Vec<u8>, e: &Event| text::credit_card(o, e)),
            Value::City => texts!(|o: &mut Vec<u8>, e: &Event| text::city(o, e)),
            Value::State => texts!(|o: &mut Vec<u8>, e: &Event| text::state(o, e)),
            Value::PersonExtra => texts!(|o: &mut Vec<u8>, e: &Event| text::person_extra(o, model, e)),
            Value::ItemName => texts!(|o: &mut Vec<u8>, e: &Event| text::item_name(o, e)),
            Value::Description => texts!(|o: &mut Vec<u8>, e: &Event| text::description(o, e)),
            Value::AuctionExtra => texts!(|o: &mut Vec<u8>, e: &Event| text::auction_extra(o, model, e)),
            Value::Channel => texts!(|o: &mut Vec<u8>, e: &Event| text::channel(o, e)),
            Value::Url => texts!(|o: &mut Vec<u8>, e: &Event| text::url(o, e)),
            Value::BidExtra => texts!(|o: &mut Vec<u8>, e: &Event| text::bid_extra(o, model, e)),
        }
    }
}

fn strings(events: &[Event], kind: Kind, write: impl Fn(&mut Vec<u8>, &Event)) -> arrow_array::StringViewArray {
    let mut builder = StringViewBuilder::with_capacity(events.len());
    let mut text = Vec::with_capacity(256);
    for event in events {
        if event.kind == kind {
            text.clear();
            write(&mut text, event);
            builder.append_value(std::str::from_utf8(&text).expect("events are written in ASCII"));
        } else {
            builder.append_null();
        }
    }
    builder.finish()
}
