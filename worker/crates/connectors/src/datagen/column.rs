//! One column: what its type and options make of a row's number.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringViewBuilder};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{ArrayRef, BooleanArray, PrimitiveArray};
use arrow_schema::{DataType, Field, TimeUnit};

use super::{ColumnOptions, Kind};
use crate::options::Number;
use crate::sequence::mix;

/// How a column is made.
#[derive(Debug, Clone)]
pub(super) struct Column {
    data_type: DataType,
    shape: Shape,
    /// A row is NULL if its draw is below this, of 2^32.
    null_below: u64,
    /// Rows after which a sequence ends.
    pub(super) rows: Option<u64>,
}

#[derive(Debug, Clone)]
enum Shape {
    /// Whole numbers in the type's own unit, both ends included.
    Whole {
        min: i128,
        max: i128,
    },
    /// Numbers from `min` up to `max`.
    Real {
        min: f64,
        max: f64,
    },
    Bool,
    /// Hexadecimal digits or bytes.
    Text {
        length: u32,
        var_len: bool,
    },
    /// `start + row * step`, in the type's own unit.
    Sequence {
        start: i128,
        step: i128,
    },
}

/// The name of the option that is wrong, if it is one, and why.
type Wrong = (Option<&'static str>, String);

impl Column {
    pub(super) fn new(field: &Field, options: &ColumnOptions, base_time: i64) -> Result<Self, Wrong> {
        let (name, data_type) = (field.name(), field.data_type().clone());
        if !(0.0..=1.0).contains(&options.null_rate) || (options.null_rate > 0.0 && !field.is_nullable()) {
            let message =
                format!("column '{name}': 'null-rate' is a number from 0 to 1, and 0 for a NOT NULL column");
            return Err((Some("null-rate"), message));
        }
        let shape = match options.kind {
            Kind::Random => random(name, &data_type, options, base_time)?,
            Kind::Sequence => sequence(name, &data_type, options, base_time)?,
        };
        let rows = match (options.kind, options.end) {
            (Kind::Sequence, Some(end)) if end < options.start => {
                return Err((Some("end"), format!("column '{name}': 'end' is before 'start'")));
            }
            (Kind::Sequence, Some(end)) => Some(end.abs_diff(options.start).saturating_add(1)),
            _ => None,
        };
        Ok(Self { data_type, shape, null_below: (options.null_rate * (1_u64 << 32) as f64) as u64, rows })
    }
}

fn unsupported(name: &str, what: &str) -> Wrong {
    (
        None,
        format!(
            "column '{name}': datagen makes no {what} of this type; it makes numbers, BOOLEAN, STRING, BYTES, DATE, TIME and TIMESTAMP"
        ),
    )
}

fn random(name: &str, data_type: &DataType, options: &ColumnOptions, base_time: i64) -> Result<Shape, Wrong> {
    let whole = |least: i128, greatest: i128, scale: i128| {
        let bound = |value: Option<Number>, default: i128| match value {
            None => default,
            Some(Number::Whole(whole)) => whole.saturating_mul(scale),
            Some(Number::Real(real)) => (real * scale as f64) as i128,
        };
        let (min, max) = (bound(options.min, least), bound(options.max, greatest));
        match least <= min && min <= max && max <= greatest {
            true => Ok(Shape::Whole { min, max }),
            false => Err((
                Some("min"),
                format!("column '{name}': 'min' and 'max' must be in order and in the range of the type"),
            )),
        }
    };
    let real = |least: f64, greatest: f64| {
        let bound = |value: Option<Number>, default: f64| match value {
            None => default,
            Some(Number::Whole(whole)) => whole as f64,
            Some(Number::Real(real)) => real,
        };
        let (min, max) = (bound(options.min, least), bound(options.max, greatest));
        match least <= min && min <= max && max <= greatest {
            true => Ok(Shape::Real { min, max }),
            false => Err((
                Some("min"),
                format!("column '{name}': 'min' and 'max' must be in order and in the range of the type"),
            )),
        }
    };
    match data_type {
        DataType::Boolean => Ok(Shape::Bool),
        DataType::Int8 => whole(i8::MIN.into(), i8::MAX.into(), 1),
        DataType::Int16 => whole(i16::MIN.into(), i16::MAX.into(), 1),
        DataType::Int32 => whole(i32::MIN.into(), i32::MAX.into(), 1),
        DataType::Int64 => whole(i64::MIN.into(), i64::MAX.into(), 1),
        DataType::Decimal128(precision, scale) => {
            let greatest = 10_i128.pow(u32::from(*precision)) - 1;
            whole(-greatest, greatest, 10_i128.pow(u32::from(scale.unsigned_abs())))
        }
        DataType::Float32 => real(f32::MIN.into(), f32::MAX.into()),
        DataType::Float64 => real(f64::MIN / 2.0, f64::MAX / 2.0),
        DataType::Utf8View | DataType::Binary => {
            Ok(Shape::Text { length: options.length, var_len: options.var_len })
        }
        DataType::Date32 => {
            let base = i128::from(base_time.div_euclid(86_400_000));
            let past = i128::from(options.max_past.as_secs() / 86_400);
            Ok(Shape::Whole { min: base - past, max: base })
        }
        DataType::Time32(TimeUnit::Millisecond) => Ok(Shape::Whole { min: 0, max: 86_399_999 }),
        DataType::Timestamp(unit, _) => {
            let base = i128::from(base_time);
            let past = options.max_past.as_millis() as i128;
            Ok(Shape::Whole { min: in_unit(base - past, *unit), max: in_unit(base, *unit) })
        }
        _ => Err(unsupported(name, "random values")),
    }
}

fn sequence(
    name: &str,
    data_type: &DataType,
    options: &ColumnOptions,
    base_time: i64,
) -> Result<Shape, Wrong> {
    let start = i128::from(options.start);
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let greatest = match data_type {
                DataType::Int8 => i64::from(i8::MAX),
                DataType::Int16 => i64::from(i16::MAX),
                DataType::Int32 => i64::from(i32::MAX),
                _ => i64::MAX,
            };
            match options.end.is_some_and(|end| end <= greatest) || *data_type == DataType::Int64 {
                true if options.start >= -greatest => Ok(Shape::Sequence { start, step: 1 }),
                _ => {
                    let message = format!(
                        "column '{name}': a sequence needs 'start' and 'end' in the range of its type"
                    );
                    Err((Some("end"), message))
                }
            }
        }
        DataType::Float32 | DataType::Float64 | DataType::Utf8View => Ok(Shape::Sequence { start, step: 1 }),
        DataType::Timestamp(unit, _) => {
            let step = in_unit(options.interval.as_millis() as i128, *unit);
            Ok(Shape::Sequence { start: in_unit(i128::from(base_time), *unit) + start * step, step })
        }
        _ => Err(unsupported(name, "sequence")),
    }
}

/// Milliseconds in another unit.
fn in_unit(millis: i128, unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => millis / 1_000,
        TimeUnit::Millisecond => millis,
        TimeUnit::Microsecond => millis * 1_000,
        TimeUnit::Nanosecond => millis * 1_000_000,
    }
}

/// A column with its randomness.
pub(super) struct Generated {
    pub(super) salt: u64,
    pub(super) column: Column,
}

impl Generated {
    /// The values of these rows.
    pub(super) fn values(&self, rows: &[u64]) -> ArrayRef {
        match &self.column.data_type {
            DataType::Boolean => {
                let value = |row: &u64| self.filled(*row, || self.draw(*row) & 1 == 1);
                Arc::new(rows.iter().map(value).collect::<BooleanArray>())
            }
            DataType::Int8 => self.numbers::<Int8Type>(rows, |v| v as i8),
            DataType::Int16 => self.numbers::<Int16Type>(rows, |v| v as i16),
            DataType::Int32 => self.numbers::<Int32Type>(rows, |v| v as i32),
            DataType::Int64 => self.numbers::<Int64Type>(rows, |v| v as i64),
            DataType::Decimal128(..) => self.numbers::<Decimal128Type>(rows, |v| v),
            DataType::Date32 => self.numbers::<Date32Type>(rows, |v| v as i32),
            DataType::Time32(_) => self.numbers::<Time32MillisecondType>(rows, |v| v as i32),
            DataType::Timestamp(TimeUnit::Second, _) => {
                self.numbers::<TimestampSecondType>(rows, |v| v as i64)
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                self.numbers::<TimestampMillisecondType>(rows, |v| v as i64)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                self.numbers::<TimestampMicrosecondType>(rows, |v| v as i64)
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                self.numbers::<TimestampNanosecondType>(rows, |v| v as i64)
            }
            DataType::Float32 => self.reals::<Float32Type>(rows, |v| v as f32),
            DataType::Float64 => self.reals::<Float64Type>(rows, |v| v),
            DataType::Binary => {
                let mut builder = BinaryBuilder::new();
                rows.iter().for_each(|r| builder.append_option(self.filled(*r, || self.bytes(*r))));
                Arc::new(builder.finish())
            }
            _ => {
                let mut builder = StringViewBuilder::with_capacity(rows.len());
                rows.iter().for_each(|r| builder.append_option(self.filled(*r, || self.text(*r))));
                Arc::new(builder.finish())
            }
        }
    }

    fn draw(&self, row: u64) -> u64 {
        mix(self.salt.wrapping_add(row.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// A value, or NULL in some rows.
    fn filled<T>(&self, row: u64, value: impl FnOnce() -> T) -> Option<T> {
        let null = self.column.null_below > 0 && mix(!self.draw(row)) >> 32 < self.column.null_below;
        (!null).then(value)
    }

    fn numbers<T: ArrowPrimitiveType>(&self, rows: &[u64], to: impl Fn(i128) -> T::Native) -> ArrayRef {
        let array = self.narrow(rows, |v| to(v.into())).map_or_else(
            || rows.iter().map(|row| self.filled(*row, || to(self.whole(*row)))).collect(),
            |values| PrimitiveArray::<T>::new(values.into(), None),
        );
        Arc::new(array.with_data_type(self.column.data_type.clone()))
    }

    /// What [`Self::whole`] gives, computed in 64 bits, which is several times faster; `None` if there
    /// may be NULLs or the bounds are wider. Sequences of wider numbers are cut to their lower 64 bits.
    fn narrow<V>(&self, rows: &[u64], to: impl Fn(i64) -> V) -> Option<Vec<V>> {
        match self.column.shape {
            _ if self.column.null_below > 0 => None,
            Shape::Whole { min, max } => {
                let (min, max) = (i64::try_from(min).ok()?, i64::try_from(max).ok()?);
                let numbers = max.abs_diff(min).wrapping_add(1);
                let above = |bits: u64| match numbers {
                    0 => bits,
                    n => ((u128::from(bits) * u128::from(n)) >> 64) as u64,
                };
                Some(rows.iter().map(|row| to(min.wrapping_add_unsigned(above(self.draw(*row))))).collect())
            }
            Shape::Sequence { start, step } => {
                let (start, step) = (start as i64, step as i64);
                Some(
                    rows.iter().map(|row| to(start.wrapping_add((*row as i64).wrapping_mul(step)))).collect(),
                )
            }
            Shape::Real { .. } | Shape::Bool | Shape::Text { .. } => None,
        }
    }

    fn reals<T: ArrowPrimitiveType>(&self, rows: &[u64], to: impl Fn(f64) -> T::Native) -> ArrayRef {
        let array: PrimitiveArray<T> =
            rows.iter().map(|row| self.filled(*row, || to(self.real(*row)))).collect();
        Arc::new(array)
    }

    fn whole(&self, row: u64) -> i128 {
        match self.column.shape {
            Shape::Whole { min, max } => {
                let bits = self.draw(row);
                match u64::try_from(max - min) {
                    Ok(u64::MAX) => min + i128::from(bits),
                    // The upper half of a product of 64 bits each: below max - min + 1.
                    Ok(span) => min + ((u128::from(bits) * (u128::from(span) + 1)) >> 64) as i128,
                    Err(_) => {
                        let wide = u128::from(bits) << 64 | u128::from(mix(bits));
                        min + (wide % ((max - min) as u128 + 1)) as i128
                    }
                }
            }
            Shape::Sequence { start, step } => start + i128::from(row) * step,
            Shape::Real { .. } | Shape::Bool | Shape::Text { .. } => 0,
        }
    }

    fn real(&self, row: u64) -> f64 {
        match self.column.shape {
            Shape::Real { min, max } => {
                let unit = (self.draw(row) >> 11) as f64 / (1_u64 << 53) as f64;
                min + unit * (max - min)
            }
            _ => self.whole(row) as f64,
        }
    }

    fn bytes(&self, row: u64) -> Vec<u8> {
        let Shape::Text { length, var_len } = self.column.shape else { return Vec::new() };
        let mut bits = self.draw(row);
        let length = if var_len && length > 0 { 1 + bits % u64::from(length) } else { u64::from(length) };
        let mut bytes = Vec::with_capacity(length as usize + 8);
        while (bytes.len() as u64) < length {
            bits = mix(bits.wrapping_add(0x9e37_79b9_7f4a_7c15));
            bytes.extend_from_slice(&bits.to_le_bytes());
        }
        bytes.truncate(length as usize);
        bytes
    }

    fn text(&self, row: u64) -> String {
        match self.column.shape {
            Shape::Sequence { .. } => self.whole(row).to_string(),
            _ => self
                .bytes(row)
                .into_iter()
                .map(|b| char::from(b"0123456789abcdef"[usize::from(b & 15)]))
                .collect(),
        }
    }
}
