//! The events of the nexmark benchmark: persons, auctions and bids, made by event number.
//!
//! The same event number gives the same event on every machine and in every version; what the
//! generator of the nexmark project draws anew in each run is drawn here from the number.

mod columns;
mod event;
mod random;
mod schema;
mod text;

use std::num::NonZeroU64;
use std::sync::Arc;

use arrow_schema::{Field, Schema};
use columns::{Columns, Output};
use event::Model;
use random::Prices;
use schema::Column;
use weir_dataflow::SourceFactory;

use crate::options::{ByteSize, OptionReader, UtcMillis, options};
use crate::sequence::{MAX_NUMBER, Sequence};
use crate::{ColumnPath, CompareOp, Comparison, Connector, OptionError, Scan, SourceTable, TableSpec};

options! {
    /// Options of a nexmark table, named as in the nexmark project.
    struct NexmarkOptions {
        ["first-event.rate", Some("10000"), "events per second of event time"] event_rate: NonZeroU64,
        ["next-event.rate", Some("10000"), "events per second that are let through if 'max-emit-speed' is 'false'"] emit_rate: NonZeroU64,
        ["max-emit-speed", Some("true"), "whether events come as fast as they are taken; 'false': at 'next-event.rate' per second of the clock"] max_speed: bool,
        ["events.num", Some("0"), "number of events, after which the source ends; 0: no end"] events: u64,
        ["stop-at", Some("-1"), "event number before which the source stops; -1: only 'events.num' counts"] stop_at: i64,
        ["keep-alive", Some("false"), "whether the source goes on, without events, after its last one"] keep_alive: bool,
        ["base-time", Some("2015-07-15 00:00:00"), "time of the first event, in UTC"] base_time: UtcMillis,
        ["person.proportion", Some("1"), "persons among so many events as the three proportions together"] persons: u64,
        ["auction.proportion", Some("3"), "auctions among so many events as the three proportions together"] auctions: u64,
        ["bid.proportion", Some("46"), "bids among so many events as the three proportions together"] bids: u64,
        ["person.avg-size", Some("200b"), "average size of a person, brought about by 'extra'"] person_size: ByteSize,
        ["auction.avg-size", Some("500b"), "average size of an auction, brought about by 'extra'"] auction_size: ByteSize,
        ["bid.avg-size", Some("100b"), "average size of a bid, brought about by 'extra'"] bid_size: ByteSize,
        ["bid.hot-ratio.auctions", Some("2"), "all bids but one in so many go to a hot auction"] hot_auctions: NonZeroU64,
        ["bid.hot-ratio.bidders", Some("4"), "all bids but one in so many are by a hot bidder"] hot_bidders: NonZeroU64,
        ["auction.hot-ratio.sellers", Some("4"), "all auctions but one in so many are by a hot seller"] hot_sellers: NonZeroU64,
    }
}

/// The connector `nexmark`.
pub(crate) const CONNECTOR: Connector =
    Connector { name: "nexmark", source: Some(source), sink: None, options: NexmarkOptions::ROWS };

/// No proportion, rate or size may be above this, so that sums and products stay in range.
const LIMIT: u64 = 1_000_000_000;

fn source(spec: &TableSpec) -> Result<Arc<dyn SourceTable>, Vec<OptionError>> {
    let mut reader = OptionReader::new(spec, NexmarkOptions::ROWS);
    let options = NexmarkOptions::read(&mut reader);
    if let Some(options) = &options {
        check(options, &mut reader);
    }
    let columns = schema::columns(&spec.schema)
        .map_err(|problems| problems.into_iter().for_each(|p| reader.problem(None, p)))
        .ok();
    let table = options.zip(columns).map(|(options, columns)| {
        Arc::new(NexmarkTable { schema: (*spec.schema).clone(), options, columns }) as Arc<dyn SourceTable>
    });
    reader.finish(table)
}

fn check(options: &NexmarkOptions, reader: &mut OptionReader<'_>) {
    let limited = [
        ("first-event.rate", options.event_rate.get()),
        ("next-event.rate", options.emit_rate.get()),
        ("person.proportion", options.persons),
        ("auction.proportion", options.auctions),
        ("bid.proportion", options.bids),
        ("bid.hot-ratio.auctions", options.hot_auctions.get()),
        ("bid.hot-ratio.bidders", options.hot_bidders.get()),
        ("auction.hot-ratio.sellers", options.hot_sellers.get()),
    ];
    for (key, _) in limited.iter().filter(|(_, value)| *value > LIMIT) {
        reader.problem(Some(key), format!("option '{key}': at most {LIMIT} is allowed"));
    }
    let sizes = [
        ("person.avg-size", options.person_size),
        ("auction.avg-size", options.auction_size),
        ("bid.avg-size", options.bid_size),
    ];
    for (key, _) in sizes.iter().filter(|(_, size)| size.0 > 1 << 20) {
        reader.problem(Some(key), format!("option '{key}': at most 1Mi is allowed"));
    }
    if options.persons + options.auctions + options.bids == 0 {
        let message = "option 'bid.proportion': one of the three proportions must be above 0";
        reader.problem(Some("bid.proportion"), message);
    }
    if options.events >= MAX_NUMBER {
        reader.problem(Some("events.num"), format!("option 'events.num': at most {} is allowed", MAX_NUMBER - 1));
    }
}

struct NexmarkTable {
    schema: Schema,
    options: NexmarkOptions,
    columns: Vec<Column>,
}

impl SourceTable for NexmarkTable {
    fn scan(&self, scan: &Scan) -> (Arc<dyn SourceFactory>, Vec<bool>) {
        let taken: Vec<_> = scan.filters.iter().map(|f| self.is_event_type(&f.path)).collect();
        let passes = |kind: i64| {
            let mut filters = scan.filters.iter().zip(&taken).filter(|(_, taken)| **taken);
            filters.all(|(filter, _)| compare(filter, kind))
        };
        let (fields, outputs) = scan.columns.iter().filter_map(|path| self.output(path)).unzip::<_, _, Vec<_>, _>();
        let generator = Columns {
            model: self.model(),
            schema: Arc::new(Schema::new(fields)),
            outputs,
            kinds: [passes(0), passes(1), passes(2)],
        };
        let options = &self.options;
        let events = if options.events == 0 { MAX_NUMBER } else { options.events };
        let factory = Sequence {
            generator: Arc::new(generator),
            end: u64::try_from(options.stop_at).map_or(events, |stop| stop.min(events)),
            keep_alive: options.keep_alive,
            rate: (!options.max_speed).then_some(options.emit_rate.get()),
        };
        (Arc::new(factory), taken)
    }
}

impl NexmarkTable {
    fn is_event_type(&self, path: &ColumnPath) -> bool {
        path.field.is_none() && matches!(self.columns.get(path.column), Some(Column::EventType))
    }

    /// The output column of a path; the planner gives only paths of the schema.
    fn output(&self, path: &ColumnPath) -> Option<(Field, Output)> {
        let declared = self.schema.field(path.column);
        match (self.columns.get(path.column)?, path.field) {
            (Column::EventType, _) => Some((declared.clone(), Output::EventType)),
            (Column::Row(_, fields, values), Some(at)) => {
                let field = fields.get(at)?.as_ref().clone().with_nullable(true);
                Some((field, Output::Field(*values.get(at)?)))
            }
            (Column::Row(kind, fields, values), None) => {
                Some((declared.clone(), Output::Row(*kind, fields.clone(), values.clone())))
            }
        }
    }

    fn model(&self) -> Model {
        let options = &self.options;
        Model {
            persons: options.persons,
            auctions: options.auctions,
            bids: options.bids,
            rate: options.event_rate.get(),
            base_time: options.base_time.0,
            hot_auctions: options.hot_auctions.get(),
            hot_bidders: options.hot_bidders.get(),
            hot_sellers: options.hot_sellers.get(),
            person_size: options.person_size.0,
            auction_size: options.auction_size.0,
            bid_size: options.bid_size.0,
            prices: Prices::new(),
        }
    }
}

fn compare(filter: &Comparison, value: i64) -> bool {
    match filter.op {
        CompareOp::Eq => value == filter.value,
        CompareOp::NotEq => value != filter.value,
        CompareOp::Lt => value < filter.value,
        CompareOp::LtEq => value <= filter.value,
        CompareOp::Gt => value > filter.value,
        CompareOp::GtEq => value >= filter.value,
    }
}

#[cfg(test)]
mod tests;
