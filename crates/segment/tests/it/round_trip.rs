//! Events round-trip through batches and files of any equivalent form; damaged ones are refused.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, Field, Schema, TimeUnit},
};
use event::StoredEvent;
use proptest::prelude::*;
use segment::{
    Error, decode, encode, events_schema,
    parquet_io::{self, Selection},
};

use crate::rows::{event, events};

fn read_all(file: bytes::Bytes, selection: Selection<'_>) -> Vec<StoredEvent> {
    let batches = parquet_io::read(file, selection).unwrap();
    batches.iter().flat_map(|b| decode(b).unwrap()).collect()
}

#[test]
fn no_events_are_an_empty_batch() {
    let batch = encode(&[]);
    assert_eq!(batch.schema(), events_schema());
    assert_eq!(decode(&batch).unwrap(), []);
}

#[test]
fn a_batch_is_read_in_any_column_order_and_any_equivalent_type() {
    let batch = encode(&events(30));
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).rev();
    let converted = columns.enumerate().map(|(n, (field, column))| {
        let other = match (field.data_type(), n % 3) {
            (DataType::Utf8, 0) => DataType::Utf8View,
            (DataType::Utf8, 1) => DataType::LargeUtf8,
            (DataType::Utf8, _) => {
                DataType::Dictionary(Box::new(DataType::UInt8), Box::new(DataType::Utf8))
            }
            (DataType::Int32, _) => DataType::Int64,
            (DataType::Timestamp(..), _) => DataType::Timestamp(TimeUnit::Nanosecond, None),
            (same, _) => same.clone(),
        };
        let column = cast(column, &other).unwrap();
        (Field::new(field.name(), other, true), column)
    });
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = converted.unzip();
    let equivalent = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();

    assert_eq!(decode(&equivalent).unwrap(), events(30));
}

#[test]
fn an_event_that_does_not_match_its_checksum_is_never_returned() {
    let batch = encode(&events(5));
    for changed in ["content", "conversation_id", "metadata", "type", "task_id"] {
        let index = batch.schema().index_of(changed).unwrap();
        let mut columns = batch.columns().to_vec();
        let texts = columns[index].as_string::<i32>();
        let texts: StringArray = texts.iter().map(|text| text.map(|_| "other")).collect();
        columns[index] = Arc::new(texts);
        let damaged = RecordBatch::try_new(batch.schema(), columns).unwrap();
        assert!(
            matches!(decode(&damaged), Err(Error::Checksum { .. })),
            "{changed}"
        );
    }
}

#[test]
fn a_batch_without_a_required_column_names_it() {
    let batch = encode(&events(1));
    let keep: Vec<_> = (0..batch.num_columns() - 1).collect();
    let error = decode(&batch.project(&keep).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "column sample_rate is missing");
}

#[test]
fn equal_rows_make_equal_bytes_in_any_division_into_batches() {
    let all = events(50_000);
    let whole = parquet_io::write(&[encode(&all)]).unwrap();
    let cut: Vec<_> = all.chunks(777).map(encode).collect();

    assert!(parquet_io::write(&cut).unwrap() == whole);
    assert_eq!(parquet_io::rows(whole.clone()).unwrap(), 50_000);
    assert_eq!(read_all(whole, Selection::default()), all);
}

#[test]
fn one_conversation_is_read_alone() {
    let all = events(50_000);
    let file = parquet_io::write(&[encode(&all)]).unwrap();
    let of = |conversation| Selection {
        conversation: Some(conversation),
        ..Selection::default()
    };

    assert_eq!(read_all(file.clone(), of("run-2050")), all[20_500..20_510]);
    assert_eq!(read_all(file.clone(), of("run-9999")), []);
    assert_eq!(read_all(file, of("a")), []);
}

#[test]
fn chosen_columns_come_in_the_order_of_the_file() {
    let file = parquet_io::write(&[encode(&events(3))]).unwrap();
    let selection = Selection {
        columns: Some(&["seq", "type", "no-such-column"]),
        conversation: Some("run-0000"),
    };
    let batches = parquet_io::read(file, selection).unwrap();
    let schema = batches[0].schema();
    let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["type", "seq"]);
    assert_eq!(batches[0].column(1).len(), 3);
}

proptest! {
    #[test]
    fn every_event_round_trips(numbers in prop::collection::vec(0..100_000_u64, 0..40)) {
        let all: Vec<_> = numbers.into_iter().map(event).collect();
        prop_assert_eq!(decode(&encode(&all)).unwrap(), all);
    }
}
