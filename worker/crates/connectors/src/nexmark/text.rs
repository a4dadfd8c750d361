//! The text fields of events.

use std::io::Write;

use super::event::{Event, Model};
use super::random::{Lane, Stream, below_high, below_low, draw};

const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] = [
    "Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent",
    "Cheyenne",
];
const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] =
    ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const CHANNELS: u64 = 10_000;
/// Half of the bids come by a hot channel.
const HOT_CHANNEL_RATIO: u64 = 2;

/// Which channel a bid came by.
enum Channel {
    Hot(usize),
    Other(u64),
}

fn pick<'a>(words: &[&'a str], number: u64, lane: Lane) -> &'a str {
    words[below_high(draw(number, lane), words.len() as u64) as usize]
}

/// Random words of 3 to `max - 1` characters; `space` comes once in 13 and is trimmed at both ends.
fn words(out: &mut Vec<u8>, stream: &mut Stream, max: u64, space: u8) {
    let start = out.len();
    for _ in 0..3 + stream.below(max - 3) {
        let bits = stream.bits();
        let letter = b'a' + below_high(bits, 26) as u8;
        out.push(if below_low(bits, 13) == 0 { space } else { letter });
    }
    let is_space = |b: &u8| *b == b' ';
    let kept = out[start..].iter().rposition(|b| !is_space(b)).map_or(0, |last| last + 1);
    out.truncate(start + kept);
    let leading = out[start..].iter().take_while(|b| is_space(b)).count();
    out.drain(start..start + leading);
}

/// So many random letters.
fn letters(out: &mut Vec<u8>, stream: &mut Stream, length: u64) {
    let end = out.len() + length as usize;
    while out.len() < end {
        let mut bits = stream.bits();
        for _ in 0..4 {
            out.push(b'a' + (((bits & 0xffff) * 26) >> 16) as u8);
            bits >>= 16;
        }
    }
    out.truncate(end);
}

/// Letters that bring an event of `size` bytes to `wanted` on average, give or take a fifth.
fn extra(out: &mut Vec<u8>, number: u64, size: u64, wanted: u64) {
    let missing = wanted.saturating_sub(size);
    let delta = (missing * 2 + 5) / 10;
    let mut stream = Stream::new(draw(number, Lane::Extra));
    let length = missing - delta + stream.below((2 * delta).max(1));
    letters(out, &mut stream, length);
}

fn channel_of(number: u64) -> Channel {
    let bits = draw(number, Lane::Channel);
    if below_low(bits, HOT_CHANNEL_RATIO) > 0 {
        Channel::Hot(below_high(bits, HOT_CHANNELS.len() as u64) as usize)
    } else {
        Channel::Other(below_high(bits, CHANNELS))
    }
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a Vec takes everything");
}

pub(super) fn channel(out: &mut Vec<u8>, event: &Event) {
    match channel_of(event.number) {
        Channel::Hot(i) => out.extend_from_slice(HOT_CHANNELS[i].as_bytes()),
        Channel::Other(n) => append(out, format_args!("channel-{n}")),
    }
}

/// One address per channel; of the channels that are not hot nine in ten name the channel in it.
pub(super) fn url(out: &mut Vec<u8>, event: &Event) {
    let (seed, id) = match channel_of(event.number) {
        Channel::Hot(i) => (CHANNELS + i as u64, None),
        Channel::Other(n) => (n, Some((n as u32).reverse_bits().cast_signed().unsigned_abs())),
    };
    let bits = draw(seed, Lane::Url);
    let mut stream = Stream::new(bits);
    out.extend_from_slice(b"https://www.nexmark.com/");
    for _ in 0..3 {
        words(out, &mut stream, 5, b'_');
        out.push(b'/');
    }
    out.extend_from_slice(b"item.htm?query=1");
    if let Some(id) = id.filter(|_| below_low(bits, 10) > 0) {
        append(out, format_args!("&channel_id={id}"));
    }
}

pub(super) fn bid_extra(out: &mut Vec<u8>, model: &Model, event: &Event) {
    extra(out, event.number, 32, model.bid_size);
}

pub(super) fn item_name(out: &mut Vec<u8>, event: &Event) {
    words(out, &mut Stream::new(draw(event.number, Lane::ItemName)), 20, b' ');
}

pub(super) fn description(out: &mut Vec<u8>, event: &Event) {
    words(out, &mut Stream::new(draw(event.number, Lane::Description)), 100, b' ');
}

pub(super) fn auction_extra(out: &mut Vec<u8>, model: &Model, event: &Event) {
    let start = out.len();
    item_name(out, event);
    description(out, event);
    let size = 48 + (out.len() - start) as u64;
    out.truncate(start);
    extra(out, event.number, size, model.auction_size);
}

pub(super) fn name(out: &mut Vec<u8>, event: &Event) {
    let bits = draw(event.number, Lane::Name);
    let first = FIRST_NAMES[below_high(bits, FIRST_NAMES.len() as u64) as usize];
    let last = LAST_NAMES[below_low(bits, LAST_NAMES.len() as u64) as usize];
    append(out, format_args!("{first} {last}"));
}

pub(super) fn email(out: &mut Vec<u8>, event: &Event) {
    let mut stream = Stream::new(draw(event.number, Lane::Email));
    words(out, &mut stream, 7, b' ');
    out.push(b'@');
    words(out, &mut stream, 5, b' ');
    out.extend_from_slice(b".com");
}

pub(super) fn credit_card(out: &mut Vec<u8>, event: &Event) {
    let mut stream = Stream::new(draw(event.number, Lane::CreditCard));
    let mut part = || stream.below(10_000);
    append(out, format_args!("{:04} {:04} {:04} {:04}", part(), part(), part(), part()));
}

pub(super) fn city(out: &mut Vec<u8>, event: &Event) {
    out.extend_from_slice(pick(&CITIES, event.number, Lane::City).as_bytes());
}

pub(super) fn state(out: &mut Vec<u8>, event: &Event) {
    out.extend_from_slice(pick(&STATES, event.number, Lane::State).as_bytes());
}

pub(super) fn person_extra(out: &mut Vec<u8>, model: &Model, event: &Event) {
    let start = out.len();
    name(out, event);
    email(out, event);
    credit_card(out, event);
    city(out, event);
    state(out, event);
    let size = 8 + (out.len() - start) as u64;
    out.truncate(start);
    extra(out, event.number, size, model.person_size);
}
