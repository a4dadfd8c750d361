//! The columns that a nexmark table may declare.

use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};

use super::event::Kind;
use crate::options::suggestion;

/// A field of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    PersonId,
    Name,
    Email,
    CreditCard,
    City,
    State,
    PersonTime,
    PersonExtra,
    AuctionId,
    ItemName,
    Description,
    InitialBid,
    Reserve,
    AuctionTime,
    Expires,
    Seller,
    Category,
    AuctionExtra,
    BidAuction,
    Bidder,
    Price,
    Channel,
    Url,
    BidTime,
    BidExtra,
}

/// The fields of the row columns, as the nexmark project names them.
const PERSON: &[(&str, &str, Value)] = &[
    ("id", LONG, Value::PersonId),
    ("name", TEXT, Value::Name),
    ("emailAddress", TEXT, Value::Email),
    ("creditCard", TEXT, Value::CreditCard),
    ("city", TEXT, Value::City),
    ("state", TEXT, Value::State),
    ("dateTime", TIME, Value::PersonTime),
    ("extra", TEXT, Value::PersonExtra),
];
const AUCTION: &[(&str, &str, Value)] = &[
    ("id", LONG, Value::AuctionId),
    ("itemName", TEXT, Value::ItemName),
    ("description", TEXT, Value::Description),
    ("initialBid", LONG, Value::InitialBid),
    ("reserve", LONG, Value::Reserve),
    ("dateTime", TIME, Value::AuctionTime),
    ("expires", TIME, Value::Expires),
    ("seller", LONG, Value::Seller),
    ("category", LONG, Value::Category),
    ("extra", TEXT, Value::AuctionExtra),
];
const BID: &[(&str, &str, Value)] = &[
    ("auction", LONG, Value::BidAuction),
    ("bidder", LONG, Value::Bidder),
    ("price", LONG, Value::Price),
    ("channel", TEXT, Value::Channel),
    ("url", TEXT, Value::Url),
    ("dateTime", TIME, Value::BidTime),
    ("extra", TEXT, Value::BidExtra),
];
const LONG: &str = "BIGINT";
const TEXT: &str = "STRING";
const TIME: &str = "TIMESTAMP(3)";

impl Value {
    /// The kind of event that it belongs to.
    pub(super) fn kind(self) -> Kind {
        Kind::ALL
            .into_iter()
            .find(|kind| fields_of(*kind).iter().any(|(_, _, value)| *value == self))
            .unwrap_or(Kind::Bid)
    }
}

/// A declared column.
#[derive(Debug, Clone)]
pub(super) enum Column {
    /// `event_type`.
    EventType,
    /// A row column with the fields it was declared with.
    Row(Kind, Fields, Vec<Value>),
}

/// Finds out what the declared columns are.
///
/// # Errors
/// One sentence per problem, which says what is allowed.
pub(super) fn columns(schema: &Schema) -> Result<Vec<Column>, Vec<String>> {
    let mut problems = Vec::new();
    let columns: Vec<_> = schema.fields().iter().filter_map(|f| column(f, &mut problems)).collect();
    if problems.is_empty() { Ok(columns) } else { Err(problems) }
}

fn column(field: &Field, problems: &mut Vec<String>) -> Option<Column> {
    let kind = match field.name().as_str() {
        "event_type" if *field.data_type() == DataType::Int32 => return Some(Column::EventType),
        "event_type" => {
            problems.push("column 'event_type' of a nexmark table is an INT".to_owned());
            return None;
        }
        "person" => Kind::Person,
        "auction" => Kind::Auction,
        "bid" => Kind::Bid,
        other => {
            let names = ["event_type", "person", "auction", "bid"];
            problems.push(format!(
                "column '{other}' is not one of a nexmark table: it may have event_type, person, auction and bid{}",
                suggestion(other, names.into_iter())
            ));
            return None;
        }
    };
    let DataType::Struct(fields) = field.data_type() else {
        problems.push(format!("column '{}' of a nexmark table is a {}", field.name(), row_type(kind)));
        return None;
    };
    if !field.is_nullable() {
        problems.push(format!(
            "column '{}' of a nexmark table is NULL for events of other types: declare it without NOT NULL",
            field.name()
        ));
    }
    let values: Vec<_> = fields.iter().filter_map(|f| row_field(kind, field.name(), f, problems)).collect();
    Some(Column::Row(kind, fields.clone(), values))
}

fn row_field(kind: Kind, column: &str, field: &Field, problems: &mut Vec<String>) -> Option<Value> {
    let known = fields_of(kind);
    let Some((_, sql, value)) = known.iter().find(|(name, _, _)| name == field.name()) else {
        problems.push(format!(
            "'{column}' of a nexmark table has no field '{}': it is a {}{}",
            field.name(),
            row_type(kind),
            suggestion(field.name(), known.iter().map(|f| f.0))
        ));
        return None;
    };
    if *field.data_type() != arrow_type(sql) {
        problems.push(format!("field '{column}.{}' of a nexmark table is a {sql}", field.name()));
        return None;
    }
    Some(*value)
}

fn fields_of(kind: Kind) -> &'static [(&'static str, &'static str, Value)] {
    match kind {
        Kind::Person => PERSON,
        Kind::Auction => AUCTION,
        Kind::Bid => BID,
    }
}

fn row_type(kind: Kind) -> String {
    let fields: Vec<_> = fields_of(kind).iter().map(|(name, sql, _)| format!("{name} {sql}")).collect();
    format!("ROW<{}>", fields.join(", "))
}

fn arrow_type(sql: &str) -> DataType {
    match sql {
        LONG => DataType::Int64,
        TIME => DataType::Timestamp(TimeUnit::Millisecond, None),
        _ => DataType::Utf8View,
    }
}

/// The whole table, for tests and examples.
#[cfg(test)]
pub(super) fn whole_table() -> Schema {
    let row = |name: &str, kind: Kind| {
        let fields: Fields =
            fields_of(kind).iter().map(|(name, sql, _)| Field::new(*name, arrow_type(sql), true)).collect();
        Field::new(name, DataType::Struct(fields), true)
    };
    Schema::new(vec![
        Field::new("event_type", DataType::Int32, true),
        row("person", Kind::Person),
        row("auction", Kind::Auction),
        row("bid", Kind::Bid),
    ])
}
