//! Whatever a peer sends: no panic, and no more memory than a frame may have.
#![no_main]

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use libfuzzer_sys::fuzz_target;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let parts = vec![Field::new("t", DataType::Utf8View, true), Field::new("b", DataType::Boolean, true)];
    Arc::new(Schema::new(vec![
        Field::new("i", DataType::Int64, true),
        Field::new("v", DataType::Utf8View, true),
        Field::new("t", DataType::Utf8, true),
        Field::new("b", DataType::Binary, true),
        Field::new("d", DataType::Decimal128(20, 2), true),
        Field::new("l", DataType::List(item), true),
        Field::new("p", DataType::Struct(parts.into()), true),
        Field::new("n", DataType::Null, true),
    ]))
});

fuzz_target!(|bytes: &[u8]| {
    let _ = weir_dataflow::decode_frames(bytes, &SCHEMA, 1 << 20);
});
