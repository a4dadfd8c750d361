//! What the numeric fields of an event are: a pure function of the event's number.
//!
//! Proportions, hot ratios and distributions are those of the generator of the nexmark project
//! (which took them from Apache Beam). Two things differ: the random numbers come from the event's
//! number, and the bidder's id is offset once, so that bidders are persons.

use super::random::{Lane, Prices, below_high, below_low, draw};
use crate::sequence::MAX_NUMBER;

const FIRST_AUCTION_ID: i64 = 1_000;
const FIRST_PERSON_ID: i64 = 1_000;
const FIRST_CATEGORY_ID: i64 = 10;
const CATEGORIES: u64 = 5;
/// Ids that do not exist yet may be used up to this far ahead.
const ID_LEAD: u64 = 10;
/// One in so many auctions, sellers and bidders is hot.
const HOT_EVERY: i64 = 100;
const AUCTIONS_IN_FLIGHT: i64 = 100;
const ACTIVE_PEOPLE: i64 = 1_000;

/// What an event is; the value of `event_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Person = 0,
    Auction = 1,
    Bid = 2,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Person, Self::Auction, Self::Bid];
}

/// What decides the events.
pub(super) struct Model {
    pub(super) persons: u64,
    pub(super) auctions: u64,
    pub(super) bids: u64,
    /// Events per second of event time.
    pub(super) rate: u64,
    /// Time of the first event, milliseconds since the Unix epoch.
    pub(super) base_time: i64,
    pub(super) hot_auctions: u64,
    pub(super) hot_bidders: u64,
    pub(super) hot_sellers: u64,
    pub(super) person_size: u64,
    pub(super) auction_size: u64,
    pub(super) bid_size: u64,
    pub(super) prices: Prices,
}

/// An event's number and what follows from it directly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) number: u64,
    /// Number divided by the sum of the proportions.
    epoch: i64,
    /// The remainder of that division.
    offset: i64,
    /// Milliseconds since the Unix epoch.
    pub(super) time: i64,
    pub(super) kind: Kind,
}

/// Walks over events at a fixed distance, without a division per event.
pub(super) struct Walk<'a> {
    model: &'a Model,
    at: Event,
    time_rest: u64,
    step: Step,
}

struct Step {
    number: u64,
    epoch: i64,
    offset: i64,
    time: i64,
    time_rest: u64,
}

impl Model {
    fn total(&self) -> u64 {
        self.persons + self.auctions + self.bids
    }

    fn kind(&self, offset: i64) -> Kind {
        let offset = offset as u64;
        if offset >= self.persons + self.auctions {
            Kind::Bid
        } else if offset >= self.persons {
            Kind::Auction
        } else {
            Kind::Person
        }
    }

    /// Milliseconds from the first event to this one, and the rest in 1/rate milliseconds.
    fn millis(&self, number: u64) -> (i64, u64) {
        let scaled = u128::from(number) * 1_000;
        let rate = u128::from(self.rate);
        // Numbers are below 2^53, so the quotient fits.
        ((scaled / rate) as i64, (scaled % rate) as u64)
    }

    /// The events `from, from + stride, …`.
    pub(super) fn walk(&self, from: u64, stride: u64) -> Walk<'_> {
        debug_assert!(from < MAX_NUMBER);
        let total = self.total();
        let ((time, time_rest), (step_time, step_rest)) = (self.millis(from), self.millis(stride));
        let offset = (from % total) as i64;
        let at = Event {
            number: from,
            epoch: (from / total) as i64,
            offset,
            time: self.base_time + time,
            kind: self.kind(offset),
        };
        let step = Step {
            number: stride,
            epoch: (stride / total) as i64,
            offset: (stride % total) as i64,
            time: step_time,
            time_rest: step_rest,
        };
        Walk { model: self, at, time_rest, step }
    }

    /// The newest person so far, counted from 0.
    fn last_person(&self, event: &Event) -> i64 {
        let persons = self.persons as i64;
        event.epoch * persons + event.offset.min(persons - 1)
    }

    /// The newest auction so far, counted from 0.
    fn last_auction(&self, event: &Event) -> i64 {
        let auctions = self.auctions as i64;
        match event.kind {
            Kind::Person => (event.epoch - 1) * auctions + auctions - 1,
            Kind::Auction => event.epoch * auctions + event.offset - self.persons as i64,
            Kind::Bid => event.epoch * auctions + auctions - 1,
        }
    }

    /// A person who is active, or will soon be.
    fn some_person(&self, event: &Event, bits: u64) -> i64 {
        let people = self.last_person(event) + 1;
        let active = people.min(ACTIVE_PEOPLE);
        people - active + below_high(bits, active as u64 + ID_LEAD) as i64
    }

    /// An auction that is in flight, or will soon be.
    fn some_auction(&self, event: &Event, bits: u64) -> i64 {
        let last = self.last_auction(event);
        let first = (last - AUCTIONS_IN_FLIGHT).max(0);
        first + below_high(bits, (last - first + 1) as u64 + ID_LEAD) as i64
    }

    pub(super) fn person_id(&self, event: &Event) -> i64 {
        FIRST_PERSON_ID + self.last_person(event)
    }

    pub(super) fn auction_id(&self, event: &Event) -> i64 {
        FIRST_AUCTION_ID + self.last_auction(event)
    }

    pub(super) fn bid_auction(&self, event: &Event) -> i64 {
        let bits = draw(event.number, Lane::Auction);
        let auction = if below_low(bits, self.hot_auctions) > 0 {
            self.last_auction(event) / HOT_EVERY * HOT_EVERY
        } else {
            self.some_auction(event, bits)
        };
        FIRST_AUCTION_ID + auction
    }

    pub(super) fn bidder(&self, event: &Event) -> i64 {
        let bits = draw(event.number, Lane::Bidder);
        let person = if below_low(bits, self.hot_bidders) > 0 {
            // The second of the hundred, so that hot bidders are not hot sellers.
            self.last_person(event) / HOT_EVERY * HOT_EVERY + 1
        } else {
            self.some_person(event, bits)
        };
        FIRST_PERSON_ID + person
    }

    pub(super) fn seller(&self, event: &Event) -> i64 {
        let bits = draw(event.number, Lane::Seller);
        let person = if below_low(bits, self.hot_sellers) > 0 {
            self.last_person(event) / HOT_EVERY * HOT_EVERY
        } else {
            self.some_person(event, bits)
        };
        FIRST_PERSON_ID + person
    }

    /// The price of a bid, or an auction's first bid.
    pub(super) fn price(&self, event: &Event) -> i64 {
        self.prices.price(draw(event.number, Lane::Price))
    }

    pub(super) fn reserve(&self, event: &Event) -> i64 {
        self.price(event) + self.prices.price(draw(event.number, Lane::Reserve))
    }

    pub(super) fn category(&self, event: &Event) -> i64 {
        FIRST_CATEGORY_ID + below_high(draw(event.number, Lane::Category), CATEGORIES) as i64
    }

    /// When an auction closes: on average when as many more as are in flight have come.
    pub(super) fn expires(&self, event: &Event) -> i64 {
        let events_ahead = AUCTIONS_IN_FLIGHT as u64 * self.total() / self.auctions.max(1);
        let horizon = self.base_time + self.millis(event.number + events_ahead).0 - event.time;
        let longest = (horizon as u64 * 2).max(1);
        let bits = draw(event.number, Lane::Length);
        event.time + 1 + ((u128::from(bits) * u128::from(longest)) >> 64) as i64
    }
}

impl Iterator for Walk<'_> {
    type Item = Event;

    #[inline]
    fn next(&mut self) -> Option<Event> {
        let event = self.at;
        let (next, step) = (&mut self.at, &self.step);
        next.number += step.number;
        next.epoch += step.epoch;
        next.offset += step.offset;
        let total = self.model.total() as i64;
        if next.offset >= total {
            next.offset -= total;
            next.epoch += 1;
        }
        next.time += step.time;
        self.time_rest += step.time_rest;
        if self.time_rest >= self.model.rate {
            self.time_rest -= self.model.rate;
            next.time += 1;
        }
        next.kind = self.model.kind(next.offset);
        Some(event)
    }
}
