//! The hash of a batch of keys, column by column; what it is for each value is fixed by
//! [`weir_protocol::key_group`].

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal128Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use weir_protocol::key_group::{HASH_NULL, combine, hash_bytes, hash_f64, hash_i128, hash_u64};

use crate::StateError;

/// The hash of rows without key columns: all of them belong to one key group.
pub const HASH_OF_NO_COLUMNS: u64 = HASH_NULL;

/// Computes the hash of each row over all columns, from left to right, into `hashes` (cleared first).
/// Without columns it stays empty: the caller knows the number of rows, the hash is
/// [`HASH_OF_NO_COLUMNS`].
///
/// # Errors
/// A column of a type that can't be a key.
pub fn hash_keys(columns: &[ArrayRef], hashes: &mut Vec<u64>) -> Result<(), StateError> {
    hashes.clear();
    for (i, column) in columns.iter().enumerate() {
        let mut into = Into { hashes, first: i == 0 };
        hash_column(column.as_ref(), &mut into)?;
    }
    Ok(())
}

/// Whether a column of this type can be part of a key.
pub fn can_be_key(data_type: &DataType) -> bool {
    let mut none = Vec::new();
    hash_column(
        arrow_array::new_empty_array(data_type).as_ref(),
        &mut Into { hashes: &mut none, first: true },
    )
    .is_ok()
}

fn hash_column(array: &dyn Array, into: &mut Into<'_>) -> Result<(), StateError> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    match array.data_type() {
        DataType::Null => into.put(None, (0..array.len()).map(|_| HASH_NULL)),
        DataType::Boolean => {
            let bits = array.as_boolean().values();
            into.put(array.nulls(), bits.iter().map(|b| hash_u64(u64::from(b))));
        }
        DataType::Int8 => into.whole::<Int8Type>(array),
        DataType::Int16 => into.whole::<Int16Type>(array),
        DataType::Int32 => into.whole::<Int32Type>(array),
        DataType::Int64 => into.whole::<Int64Type>(array),
        DataType::UInt8 => into.whole::<UInt8Type>(array),
        DataType::UInt16 => into.whole::<UInt16Type>(array),
        DataType::UInt32 => into.whole::<UInt32Type>(array),
        DataType::UInt64 => into.primitive::<UInt64Type>(array, hash_u64),
        DataType::Float32 => into.primitive::<Float32Type>(array, |v| hash_f64(f64::from(v))),
        DataType::Float64 => into.primitive::<Float64Type>(array, hash_f64),
        DataType::Decimal128(..) => into.primitive::<Decimal128Type>(array, hash_i128),
        DataType::Date32 => into.whole::<Date32Type>(array),
        DataType::Date64 => into.whole::<Date64Type>(array),
        DataType::Time32(Second) => into.whole::<Time32SecondType>(array),
        DataType::Time32(Millisecond) => into.whole::<Time32MillisecondType>(array),
        DataType::Time64(Microsecond) => into.whole::<Time64MicrosecondType>(array),
        DataType::Time64(Nanosecond) => into.whole::<Time64NanosecondType>(array),
        DataType::Timestamp(Second, _) => into.whole::<TimestampSecondType>(array),
        DataType::Timestamp(Millisecond, _) => into.whole::<TimestampMillisecondType>(array),
        DataType::Timestamp(Microsecond, _) => into.whole::<TimestampMicrosecondType>(array),
        DataType::Timestamp(Nanosecond, _) => into.whole::<TimestampNanosecondType>(array),
        DataType::Duration(Second) => into.whole::<DurationSecondType>(array),
        DataType::Duration(Millisecond) => into.whole::<DurationMillisecondType>(array),
        DataType::Duration(Microsecond) => into.whole::<DurationMicrosecondType>(array),
        DataType::Duration(Nanosecond) => into.whole::<DurationNanosecondType>(array),
        _ => {
            let bytes = VarColumn::new(array)?;
            into.put(array.nulls(), (0..array.len()).map(|i| hash_bytes(bytes.value(i))));
        }
    }
    Ok(())
}

/// Where the hashes of a column go.
struct Into<'a> {
    hashes: &'a mut Vec<u64>,
    first: bool,
}

impl Into<'_> {
    fn put(&mut self, nulls: Option<&arrow_buffer::NullBuffer>, values: impl Iterator<Item = u64>) {
        match nulls.filter(|n| n.null_count() > 0) {
            None => self.combine(values),
            Some(nulls) => {
                self.combine(values.zip(nulls.iter()).map(|(h, valid)| if valid { h } else { HASH_NULL }));
            }
        }
    }

    fn combine(&mut self, values: impl Iterator<Item = u64>) {
        if self.first {
            self.hashes.extend(values);
        } else {
            for (hash, value) in self.hashes.iter_mut().zip(values) {
                *hash = combine(*hash, value);
            }
        }
    }

    fn primitive<T: ArrowPrimitiveType>(&mut self, array: &dyn Array, hash: impl Fn(T::Native) -> u64) {
        self.put(array.nulls(), array.as_primitive::<T>().values().iter().map(|v| hash(*v)));
    }

    /// Values that are sign-extended to 64 bits.
    fn whole<T: ArrowPrimitiveType>(&mut self, array: &dyn Array)
    where
        T::Native: std::convert::Into<i64>,
    {
        self.primitive::<T>(array, |v| hash_u64(v.into() as u64));
    }
}

/// A column of strings or binary data, whatever its layout.
pub(crate) enum VarColumn<'a> {
    Utf8(&'a arrow_array::StringArray),
    LargeUtf8(&'a arrow_array::LargeStringArray),
    Utf8View(&'a arrow_array::StringViewArray),
    Binary(&'a arrow_array::BinaryArray),
    LargeBinary(&'a arrow_array::LargeBinaryArray),
    BinaryView(&'a arrow_array::BinaryViewArray),
    Fixed(&'a arrow_array::FixedSizeBinaryArray),
}

impl<'a> VarColumn<'a> {
    pub(crate) fn new(array: &'a dyn Array) -> Result<Self, StateError> {
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Utf8(array.as_string()),
            DataType::LargeUtf8 => Self::LargeUtf8(array.as_string()),
            DataType::Utf8View => Self::Utf8View(array.as_string_view()),
            DataType::Binary => Self::Binary(array.as_binary()),
            DataType::LargeBinary => Self::LargeBinary(array.as_binary()),
            DataType::BinaryView => Self::BinaryView(array.as_binary_view()),
            DataType::FixedSizeBinary(_) => Self::Fixed(array.as_fixed_size_binary()),
            other => return Err(StateError::KeyType { data_type: other.clone() }),
        })
    }

    #[inline]
    pub(crate) fn value(&self, i: usize) -> &'a [u8] {
        match self {
            Self::Utf8(a) => a.value(i).as_bytes(),
            Self::LargeUtf8(a) => a.value(i).as_bytes(),
            Self::Utf8View(a) => a.value(i).as_bytes(),
            Self::Binary(a) => a.value(i),
            Self::LargeBinary(a) => a.value(i),
            Self::BinaryView(a) => a.value(i),
            Self::Fixed(a) => a.value(i),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BinaryArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int8Array, Int32Array,
        Int64Array, LargeStringArray, NullArray, StringArray, StringViewArray, TimestampMillisecondArray,
    };

    use super::*;

    fn hashes(columns: &[ArrayRef]) -> Vec<u64> {
        let mut out = vec![1, 2, 3];
        hash_keys(columns, &mut out).expect("can be keys");
        out
    }

    #[test]
    fn every_type_hashes_as_the_protocol_says() {
        let seven = hash_u64(7);
        let minus = hash_u64(-7_i64 as u64);
        let cases: Vec<(ArrayRef, Vec<u64>)> = vec![
            (Arc::new(BooleanArray::from(vec![Some(true), None])), vec![hash_u64(1), HASH_NULL]),
            (Arc::new(Int8Array::from(vec![Some(-7), None])), vec![minus, HASH_NULL]),
            (Arc::new(Int32Array::from(vec![7, -7])), vec![seven, minus]),
            (Arc::new(Int64Array::from(vec![7, -7])), vec![seven, minus]),
            (Arc::new(TimestampMillisecondArray::from(vec![-7])), vec![minus]),
            (Arc::new(Float32Array::from(vec![1.5, -0.0])), vec![hash_f64(1.5), hash_f64(0.0)]),
            (Arc::new(Float64Array::from(vec![f64::NAN])), vec![hash_f64(f64::NAN)]),
            (Arc::new(Decimal128Array::from(vec![-7])), vec![hash_i128(-7)]),
            (Arc::new(StringArray::from(vec![Some("weir"), None])), vec![hash_bytes(b"weir"), HASH_NULL]),
            (Arc::new(LargeStringArray::from(vec!["weir"])), vec![hash_bytes(b"weir")]),
            (
                Arc::new(StringViewArray::from(vec!["weir", "a string of more than twelve"])),
                vec![hash_bytes(b"weir"), hash_bytes(b"a string of more than twelve")],
            ),
            (Arc::new(BinaryArray::from(vec![&b"weir"[..]])), vec![hash_bytes(b"weir")]),
            (Arc::new(NullArray::new(2)), vec![HASH_NULL, HASH_NULL]),
        ];
        for (column, expected) in cases {
            assert_eq!(hashes(std::slice::from_ref(&column)), expected, "{}", column.data_type());
            let slice = column.slice(column.len() - 1, 1);
            assert_eq!(hashes(&[slice]), expected[expected.len() - 1..], "{} sliced", column.data_type());
        }
    }

    #[test]
    fn several_columns_are_combined_from_left_to_right() {
        let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let b: ArrayRef = Arc::new(StringArray::from(vec![None, Some("x")]));
        let expected = vec![combine(hash_u64(1), HASH_NULL), combine(HASH_NULL, hash_bytes(b"x"))];
        assert_eq!(hashes(&[a, b]), expected);
        assert!(hashes(&[]).is_empty());
    }

    #[test]
    fn a_type_that_cannot_be_a_key_is_refused_by_name() {
        let list = DataType::new_list(DataType::Int64, true);
        assert!(!can_be_key(&list));
        assert!(can_be_key(&DataType::Utf8));
        let error = hash_keys(&[arrow_array::new_empty_array(&list)], &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("List"), "{error}");
    }
}
