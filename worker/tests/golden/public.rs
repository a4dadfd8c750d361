//! Jobs over public data: flights and weather of the package `vega-datasets`, repeated with later
//! dates so that there is enough to do.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::data::vega;
use crate::support::place::Input;
use crate::support::rows::{row, rows};
use crate::support::time::{DAY, HOUR, format, format_as, parse, windows};
use crate::ways::{Expected, Golden};

struct Flight {
    at: i64,
    delay: i64,
    distance: i64,
    origin: String,
    destination: String,
}

/// The flights of three months, in the order of time.
fn of_the_package() -> Vec<Flight> {
    let all: Vec<Value> = serde_json::from_slice(&vega("flights-20k.json")).unwrap();
    let text = |f: &Value, name: &str| f[name].as_str().unwrap().to_owned();
    let flight = |f: &Value| Flight {
        at: parse(&text(f, "date").replace('/', "-")),
        delay: f["delay"].as_i64().unwrap(),
        distance: f["distance"].as_i64().unwrap(),
        origin: text(f, "origin"),
        destination: text(f, "destination"),
    };
    let mut flights: Vec<_> = all.iter().map(flight).collect();
    flights.sort_by_key(|f| f.at);
    flights
}

const FLIGHT_COPIES: i64 = 30;
/// From one copy to the next: more than the data spans.
const FLIGHT_SHIFT: i64 = 100 * DAY;

fn flight_line(f: &Flight, shift: i64) -> String {
    let date = format_as("%Y/%m/%d %H:%M", f.at + shift);
    let line = json!({"date": date, "delay": f.delay, "distance": f.distance, "origin": f.origin, "destination": f.destination});
    line.to_string() + "\n"
}

pub(crate) fn flights() -> Golden {
    let flights = of_the_package();
    assert!(flights.last().unwrap().at - flights[0].at < FLIGHT_SHIFT - DAY);
    let mut inputs: Vec<Input> =
        vec![("flights/000.json".into(), flight_line(&flights[0], -FLIGHT_SHIFT).into_bytes())];
    let mut groups = BTreeMap::<(i64, &str), Vec<&Flight>>::new();
    let mut count = |f: &'static Flight, shift| {
        if f.destination != "LAX" {
            let window = windows(f.at + shift, DAY, DAY).next().unwrap();
            groups.entry((window, f.origin.as_str())).or_default().push(f);
        }
    };
    let flights: &'static [Flight] = flights.leak();
    count(&flights[0], -FLIGHT_SHIFT);
    for copy in 0..FLIGHT_COPIES {
        let shift = copy * FLIGHT_SHIFT;
        // Neighbours change places if they are near enough for the watermark.
        let near = |pair: &[Flight]| pair.len() == 2 && pair[1].at - pair[0].at < HOUR;
        let line = |pair: &[Flight]| {
            let mut lines: Vec<_> = pair.iter().map(|f| flight_line(f, shift)).collect();
            if near(pair) {
                lines.reverse();
            }
            lines.concat()
        };
        let content: String = flights.chunks(2).map(line).collect();
        inputs.push((format!("flights/{:03}.json", copy + 1), content.into_bytes()));
        flights.iter().for_each(|f| count(f, shift));
    }
    let expected = groups.iter().map(|((start, origin), all)| {
        let delay: i64 = all.iter().map(|f| f.delay).sum();
        row([
            ("s", json!(format(*start))),
            ("origin", json!(origin)),
            ("n", json!(all.len())),
            ("average", json!(delay / all.len() as i64)),
            ("delay", json!(delay)),
            ("furthest", json!(all.iter().map(|f| f.distance).max())),
        ])
    });
    let expected = rows(expected);
    let sql = "CREATE TABLE flights (`date` STRING, delay BIGINT, distance BIGINT, origin STRING, destination STRING,
  ts AS TO_TIMESTAMP(REPLACE(`date`, '/', '-') || ':00'), WATERMARK FOR ts AS ts - INTERVAL '1' HOUR)
WITH ('connector' = 'filesystem', 'path' = '{in}/flights', 'format' = 'json', 'rows-per-second' = '300000');
CREATE TABLE days (s TIMESTAMP(3), origin STRING, n BIGINT, average BIGINT, delay BIGINT, furthest BIGINT)
WITH ('connector' = 'filesystem', 'path' = '{out}/days', 'format' = 'json');
CREATE VIEW wanted AS SELECT * FROM flights WHERE destination <> 'LAX';
INSERT INTO days SELECT window_start, origin, COUNT(*), AVG(delay), SUM(delay), MAX(distance)
FROM TABLE(TUMBLE(TABLE wanted, DESCRIPTOR(ts), INTERVAL '1' DAY)) GROUP BY window_start, window_end, origin;";
    Golden::new("flights", sql.to_owned(), inputs, vec![Expected::rows("days", expected)])
}

/// A day in Seattle; temperatures and rain in tenths.
#[derive(Clone)]
struct Day {
    at: i64,
    rain: i64,
    warmest: i64,
    coldest: i64,
    wind: i64,
    weather: String,
}

fn tenths(text: &str) -> i64 {
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    assert_eq!(rest.len(), 1, "{text}");
    let value = whole.trim_start_matches('-').parse::<i64>().unwrap() * 10 + rest.parse::<i64>().unwrap();
    if whole.starts_with('-') { -value } else { value }
}

fn of_seattle() -> Vec<Day> {
    let text = String::from_utf8(vega("seattle-weather.csv")).unwrap();
    let day = |line: &str| {
        let fields: Vec<_> = line.split(',').collect();
        let [date, rain, warmest, coldest, wind, weather] = fields.try_into().unwrap();
        Day {
            at: parse(&format!("{date} 00:00:00")),
            rain: tenths(rain),
            warmest: tenths(warmest),
            coldest: tenths(coldest),
            wind: tenths(wind),
            weather: weather.to_owned(),
        }
    };
    text.lines().skip(1).map(day).collect()
}

fn decimal(tenths: i64) -> String {
    format!("{}{}.{}", if tenths < 0 { "-" } else { "" }, tenths.abs() / 10, tenths.abs() % 10)
}

const WEATHER_FILES: usize = 40;
const COPIES_PER_FILE: usize = 10;

/// Rounded half up, to six decimals.
fn average(tenths: i64, count: i64) -> f64 {
    let scaled = i128::from(tenths) * 100_000;
    let twice = (2 * scaled.abs() + i128::from(count)) / (2 * i128::from(count));
    (twice * scaled.signum()) as f64 / 1e6
}

pub(crate) fn weather() -> Golden {
    let days = of_seattle();
    // The days follow each other without a gap: so do the copies.
    let span = days.last().unwrap().at - days[0].at + DAY;
    assert_eq!(span, days.len() as i64 * DAY);
    let header = "date,precipitation,temp_max,temp_min,wind,weather\n";
    let later = |day: &Day, by: i64| Day { at: day.at + by, ..day.clone() };
    let mut files: Vec<Vec<Day>> = vec![vec![later(&days[0], -DAY)]];
    for file in 0..WEATHER_FILES {
        let copies = file * COPIES_PER_FILE..(file + 1) * COPIES_PER_FILE;
        files.push(copies.flat_map(|copy| days.iter().map(move |d| later(d, copy as i64 * span))).collect());
    }
    let mut groups = BTreeMap::<(i64, &str), Vec<&Day>>::new();
    for day in files.iter().flatten() {
        let window = windows(day.at, 7 * DAY, 7 * DAY).next().unwrap();
        groups.entry((window, day.weather.as_str())).or_default().push(day);
    }
    let expected = groups.iter().map(|((start, weather), days)| {
        let sum = |of: fn(&Day) -> i64| days.iter().map(|d| of(d)).sum::<i64>();
        row([
            ("s", json!(format(*start))),
            ("weather", json!(weather)),
            ("n", json!(days.len())),
            ("rain", json!(sum(|d| d.rain) as f64 / 10.0)),
            ("warmest", json!(average(sum(|d| d.warmest), days.len() as i64))),
            ("coldest", json!(days.iter().map(|d| d.coldest).min().unwrap() as f64 / 10.0)),
            ("windy", json!(days.iter().filter(|d| d.wind > 50).count())),
        ])
    });
    let expected = rows(expected);
    let line = |d: &Day| {
        let date = format_as("%Y-%m-%d", d.at);
        let [rain, warmest, coldest, wind] = [d.rain, d.warmest, d.coldest, d.wind].map(decimal);
        format!("{date},{rain},{warmest},{coldest},{wind},{}\n", d.weather)
    };
    let file = |(n, days): (usize, &Vec<Day>)| {
        let lines: String = days.iter().map(line).collect();
        (format!("weather/{n:03}.csv"), format!("{header}{lines}").into_bytes())
    };
    let inputs = files.iter().enumerate().map(file).collect();
    let sql = "CREATE TABLE weather (`date` DATE, weather STRING, precipitation DECIMAL(5, 1), temp_max DECIMAL(5, 1),
  temp_min DECIMAL(5, 1), wind DECIMAL(5, 1),
  ts AS CAST(`date` AS TIMESTAMP(3)), WATERMARK FOR ts AS ts)
WITH ('connector' = 'filesystem', 'path' = '{in}/weather', 'format' = 'csv', 'csv.header' = 'true',
  'rows-per-second' = '300000');
CREATE TABLE weeks (s TIMESTAMP(3), weather STRING, n BIGINT, rain DECIMAL(38, 1), warmest DECIMAL(38, 6),
  coldest DECIMAL(5, 1), windy BIGINT)
WITH ('connector' = 'filesystem', 'path' = '{out}/weeks', 'format' = 'json');
INSERT INTO weeks SELECT window_start, weather, COUNT(*), SUM(precipitation), AVG(temp_max), MIN(temp_min),
  COUNT(*) FILTER (WHERE wind > 5)
FROM TABLE(TUMBLE(TABLE weather, DESCRIPTOR(ts), INTERVAL '7' DAY)) GROUP BY window_start, window_end, weather;";
    Golden::new("weather", sql.to_owned(), inputs, vec![Expected::rows("weeks", expected)])
}
