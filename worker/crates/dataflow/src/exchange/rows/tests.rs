use arrow_array::types::Int32Type;
use arrow_array::{
    BinaryArray, BooleanArray, Decimal128Array, Int8Array, Int64Array, ListArray, NullArray, StringArray,
    TimestampMillisecondArray, UInt8Array,
};
use arrow_schema::TimeUnit;
use weir_runtime::{Random, SeededRandom};

use super::*;

const LONG: &str = "a text that is too long to stand in a view";

/// Rows with a column of every shape, with and without nulls.
fn batch() -> RecordBatch {
    let texts = StringViewArray::from_iter((0..40).map(|i| (i % 7 != 0).then(|| format!("{LONG} {i}"))));
    let lists = (0..40).map(|i| (i % 5 != 0).then(|| (0..i % 4).map(Some).collect::<Vec<_>>()));
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
    let parts = StructArray::from(vec![
        (
            Arc::new(Field::new("t", DataType::Utf8View, true)),
            Arc::new(StringViewArray::from_iter_values((0..40).map(|i| format!("{i} {LONG}")))) as ArrayRef,
        ),
        (
            Arc::new(Field::new("b", DataType::Boolean, true)),
            Arc::new(BooleanArray::from_iter((0..40).map(|i| (i % 3 != 0).then_some(i % 2 == 0))))
                as ArrayRef,
        ),
    ]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i", Arc::new(Int64Array::from_iter_values(0..40))),
        ("s", Arc::new(Int8Array::from_iter((0..40).map(|i| (i % 2 == 0).then_some(i as i8))))),
        ("v", Arc::new(texts)),
        ("t", Arc::new(StringArray::from_iter_values((0..40).map(|i| i.to_string())))),
        ("b", Arc::new(BinaryArray::from_iter_values((0..40_u8).map(|i| [i, 255])))),
        ("d", Arc::new(Decimal128Array::from_iter_values(0..40).with_precision_and_scale(20, 2).unwrap())),
        ("m", Arc::new(TimestampMillisecondArray::from_iter_values(0..40))),
        ("l", Arc::new(lists)),
        ("p", Arc::new(parts)),
        ("n", Arc::new(NullArray::new(40))),
    ];
    let fields = columns.iter().map(|(n, c)| Field::new(*n, c.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.into_iter().map(|(_, c)| c).collect()).unwrap()
}

fn kinds() -> UInt8Array {
    UInt8Array::from_iter_values((0..40).map(|i| i % 4))
}

fn encode(chunk: &Chunk) -> (Form, Encoded) {
    let form = Form::new(&batch().schema()).unwrap();
    let encoded = Encoder::new(form.clone()).unwrap().encode(chunk).unwrap();
    (form, encoded)
}

fn payload(encoded: &Encoded) -> Buffer {
    Buffer::from_vec([&encoded.body[..], &encoded.metadata].concat())
}

fn decode(form: &Form, encoded: &Encoded) -> Result<Chunk, Malformed> {
    form.decode(encoded.changes, &payload(encoded), encoded.metadata.len())
}

#[test]
fn rows_arrive_as_they_were_sent_whole_and_in_slices() {
    for kinds in [None, Some(kinds())] {
        let whole = Chunk { rows: batch(), kinds };
        for (first, rows) in [(0, 40), (0, 0), (1, 1), (7, 30), (39, 1)] {
            let sent = whole.slice(first, rows);
            let (form, encoded) = encode(&sent);
            let came = decode(&form, &encoded).unwrap();
            assert_eq!(came.rows, sent.rows, "{first}, {rows}");
            assert_eq!(came.kinds, sent.kinds, "{first}, {rows}");
        }
    }
}

#[test]
fn rows_without_columns_are_counted() {
    let schema = Arc::new(Schema::empty());
    let options = RecordBatchOptions::new().with_row_count(Some(5));
    let rows = RecordBatch::try_new_with_options(schema.clone(), Vec::new(), &options).unwrap();
    let form = Form::new(&schema).unwrap();
    for kinds in [None, Some(UInt8Array::from(vec![0, 1, 2, 3, 0]))] {
        let sent = Chunk { rows: rows.clone(), kinds };
        let encoded = Encoder::new(form.clone()).unwrap().encode(&sent).unwrap();
        assert_eq!(decode(&form, &encoded).unwrap().len(), 5);
    }
}

#[test]
fn a_slice_sends_its_own_text_only() {
    let whole = Chunk::inserts(batch());
    let size = |chunk: &Chunk| encode(chunk).1.bytes();
    let (all, one) = (size(&whole), size(&whole.slice(3, 1)));
    // Views of one row refer to the text of all forty until they are compacted.
    assert!(one < all / 2, "{one} of {all} bytes");
}

#[test]
fn buffers_are_used_where_they_were_received() {
    let (form, encoded) = encode(&Chunk::inserts(batch()));
    let payload = payload(&encoded);
    let came = form.decode(false, &payload, encoded.metadata.len()).unwrap();
    let within = payload.as_ptr() as usize..payload.as_ptr() as usize + payload.len();
    for column in [0, 5] {
        let data = came.rows.column(column).to_data();
        assert!(within.contains(&(data.buffers()[0].as_ptr() as usize)), "column {column} was copied");
    }
}

#[test]
fn rows_of_another_form_are_refused_at_both_ends() {
    let other = Arc::new(Schema::new(vec![Field::new("i", DataType::Int64, true)]));
    let form = Form::new(&other).unwrap();
    let failure = Encoder::new(form.clone()).unwrap().encode(&Chunk::inserts(batch())).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Bug);
    let (_, encoded) = encode(&Chunk::inserts(batch()));
    assert!(decode(&form, &encoded).is_err());
    let texts = Form::new(&Arc::new(Schema::new(vec![Field::new("i", DataType::Utf8View, true)]))).unwrap();
    let one = RecordBatch::try_new(other, vec![batch().column(0).clone()]).unwrap();
    let encoded = Encoder::new(form).unwrap().encode(&Chunk::inserts(one)).unwrap();
    assert!(decode(&texts, &encoded).is_err());
}

#[test]
fn kinds_that_are_none_are_refused() {
    let kinds = UInt8Array::from_iter_values((0..40).map(|i| i % 5));
    let (form, encoded) = encode(&Chunk { rows: batch(), kinds: Some(kinds) });
    assert_eq!(decode(&form, &encoded).unwrap_err(), Malformed("rows with broken kinds"));
}

#[test]
fn types_that_can_not_travel_are_refused_when_the_job_is_deployed() {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    for data_type in [dictionary.clone(), DataType::List(Arc::new(Field::new("item", dictionary, true)))] {
        let schema = Arc::new(Schema::new(vec![Field::new("x", data_type, true)]));
        assert!(Form::new(&schema).unwrap_err().message.contains("column x"));
    }
    let zone = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    assert!(Form::new(&Arc::new(Schema::new(vec![Field::new("x", zone, true)]))).is_ok());
}

/// Damaged in every way: nothing panics; what is taken all the same is a batch of the right form.
#[test]
fn damaged_rows_are_an_error_and_never_a_panic() {
    for seed in 0..20_000 {
        let random = SeededRandom::new(seed);
        let pick = |n: usize| (random.next_u64() % n as u64) as usize;
        let kinds = (seed % 2 == 0).then(kinds);
        let (form, mut encoded) = encode(&Chunk { rows: batch(), kinds }.slice(0, 1 + pick(40)));
        match pick(4) {
            // The metadata is where lengths and offsets are.
            0 | 1 => {
                for _ in 0..1 + pick(4) {
                    let at = pick(encoded.metadata.len());
                    encoded.metadata[at] = [0, 1, 0x7f, 0x80, 0xff, random.next_u64() as u8][pick(6)];
                }
            }
            2 => {
                for _ in 0..1 + pick(8) {
                    let at = pick(encoded.body.len());
                    encoded.body[at] = random.next_u64() as u8;
                }
            }
            _ => {
                let part = if pick(2) == 0 { &mut encoded.body } else { &mut encoded.metadata };
                let length = pick(part.len());
                part.truncate(length);
            }
        }
        let decoded = decode(&form, &encoded);
        assert_ne!(decoded.as_ref().err(), Some(&PANICKED), "seed {seed}");
        if let Ok(chunk) = decoded {
            assert_eq!(chunk.rows.schema().fields(), form.inserts.fields(), "seed {seed}");
            assert_eq!(chunk.kinds.is_some(), encoded.changes, "seed {seed}");
            // Whatever it says, it can be looked at.
            let (_, again) = encode(&chunk);
            assert!(again.bytes() > 0, "seed {seed}");
        }
    }
}

/// The decoder of whole frames, as the fuzz target runs it: what is whole is counted, what is not ends it.
#[test]
fn frames_are_decoded_up_to_the_first_that_is_none() {
    use crate::exchange::decode_frames;
    use crate::exchange::frame::{ChannelId, Deployed, Header, Kind};
    let (form, encoded) = encode(&Chunk::inserts(batch()));
    let header = Header {
        kind: Kind::Rows,
        deployed: Deployed::default(),
        channel: ChannelId::default(),
        sequence: 0,
        length: encoded.bytes() as u32,
        metadata: encoded.metadata.len() as u32,
    };
    let frame = [&header.encode()[..], payload(&encoded).as_slice()].concat();
    let stream = frame.repeat(3);
    let limit = frame.len();
    assert_eq!(decode_frames(&stream, &form.inserts, limit), Ok(3));
    assert_eq!(decode_frames(&stream[..stream.len() - 1], &form.inserts, limit), Ok(2));
    for seed in 0..3_000 {
        let random = SeededRandom::new(seed);
        let mut stream = stream.clone();
        for _ in 0..1 + random.next_u64() % 6 {
            let at = (random.next_u64() % stream.len() as u64) as usize;
            stream[at] ^= 1 << (random.next_u64() % 8);
        }
        assert!(decode_frames(&stream, &form.inserts, limit).unwrap() <= 3, "seed {seed}");
    }
}
