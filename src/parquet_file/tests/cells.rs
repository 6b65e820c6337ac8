//! Cells of every legal size come back in steps, and files that claim what they do not hold are refused.

use parquet::basic::Encoding;
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

use super::super::column::Column;
use super::super::page_chunk::{PageChunk, PageRange};
use super::*;

fn raw(number: usize, value: Vec<u8>) -> RawCell {
    let cell = OwnedCell { row: (number as u32 / 2).to_be_bytes().to_vec(), value, ..cell(number) };
    RawCell { cell, reason: RawReason::OddTimestamp }
}

fn file(rows: &[RawCell]) -> Bytes {
    let mut writer = TableWriter::new(FileKind::Cells, Vec::new(), Vec::new()).unwrap();
    rows.chunks(16).for_each(|rows| writer.write(TableRows::Cells("tsdb", rows)).unwrap());
    Bytes::from(writer.finish().unwrap().0)
}

/// Reads all cells; no step may hold much more than it promises.
fn assert_comes_back(rows: &[RawCell]) {
    let bytes = file(rows);
    let largest = rows.iter().map(|raw| raw.cell.value.len()).max().unwrap_or(0);
    let mut reader = CellReader::open(bytes, rows.len() as u64).unwrap();
    let (mut block, mut at) = (CellBlock::new(), 0);
    while reader.next(&mut block).unwrap() {
        assert!(block.bytes().len() <= (4 << 20) + largest + 100, "a step of {} bytes", block.bytes().len());
        assert_eq!(reader.reasons().len(), block.cell_count());
        for found in block.iter() {
            assert!(found.to_owned() == rows[at].cell, "cell {at}");
            at += 1;
        }
        block.clear();
    }
    assert_eq!(at, rows.len());
}

#[test]
fn a_long_value_that_repeats_comes_back_in_steps() {
    // A dictionary holds it once; decoded at once it would be many times the file.
    let value = vec![7u8; 200 << 10];
    let rows: Vec<RawCell> = (0..300).map(|number| raw(number, value.clone())).collect();
    assert!(file(&rows).len() < 1 << 20);
    assert_comes_back(&rows);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn cells_of_any_size_come_back(
        palette in prop::collection::vec((any::<u8>(), prop_oneof![0usize..40, 0usize..2_000_000]), 1..4),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let value = |pick: &prop::sample::Index| { let (byte, size) = palette[pick.index(palette.len())]; vec![byte; size] };
        let rows: Vec<RawCell> = picks.iter().enumerate().map(|(number, pick)| raw(number, value(pick))).collect();
        assert_comes_back(&rows);
    }
}

#[test]
fn a_file_with_other_rows_than_were_recorded_is_refused() {
    let cells = file(&[raw(0, vec![1]), raw(1, vec![2])]);
    assert!(matches!(CellReader::open(cells.clone(), 3), Err(FileError::Rows { found: 2, recorded: 3 })));
    assert!(CellReader::open(cells, 2).is_ok());
    let (points, summary) = write(&[sort_points(batch(3, 3, 5))]);
    let short = PointsReader::open_recorded(points.clone(), summary.rows - 1);
    assert!(matches!(short, Err(FileError::Rows { found: 45, recorded: 44 })));
    assert!(PointsReader::open_recorded(points, summary.rows).is_ok());
}

/// A column of one page whose only run claims so many rows; the header of the page says 10.
fn column_of_one_run(run: &[u8]) -> Column<Int32Type> {
    let schema = std::sync::Arc::new(parse_message_type("message m { required int32 form; }").unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Default::default()).unwrap();
    let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
    let mut chunk = PageChunk::new(writer.schema_descr().column(0));
    chunk.dictionary_page(&[7, 0, 0, 0], 1, &mut compressor).unwrap();
    // Bit width 1, the varint of twice the rows, the key.
    let body = [&[1], run, &[0]].concat();
    let range = PageRange { rows: 10, nulls: 0, bounds: None, nans: 0 };
    chunk.data_page(&body, Encoding::RLE_DICTIONARY, range, &mut compressor).unwrap();
    let chunk = chunk.finish(Statistics::int32(Some(7), Some(7), None, Some(0), false)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    group.append_column(&chunk.bytes, chunk.close).unwrap();
    group.close().unwrap();
    let reader = SerializedFileReader::new(Bytes::from(writer.into_inner().unwrap())).unwrap();
    Column::open(reader.get_row_group(0).unwrap().as_ref(), 0).unwrap()
}

#[test]
fn a_run_that_claims_more_than_its_page_takes_no_memory() {
    let greatest = [0xfe, 0xff, 0xff, 0xff, 0x0f];
    let mut column = column_of_one_run(&greatest);
    column.fill(10).unwrap();
    assert_eq!(*column.required().unwrap(), 7);
    assert!(matches!(column_of_one_run(&greatest).fill(1 << 20), Err(FileError::Damaged(_))));
    // 2^40 rows.
    assert!(matches!(column_of_one_run(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x40]).fill(10), Err(FileError::Damaged(_))));
}

/// A catalogue cannot have more rows than its bytes can stand for.
#[test]
fn a_catalogue_of_too_many_rows_is_refused() {
    let row =
        MetricRow { table: "t".into(), uid: "0".into(), metric: None, points: 1, first_time: None, last_time: None };
    let many = catalogue(TableRows::Metrics(&vec![row; 100_000]));
    assert!(many.len() * 16 < 100_000, "{} bytes", many.len());
    assert!(matches!(read_metrics(many), Err(FileError::Rows { found: 100_000, .. })));
}

#[test]
fn the_columns_of_points_are_those_that_are_described() {
    use parquet::basic::{LogicalType, Type};
    let described = crate::columnar::columns_of(FileKind::Points).unwrap();
    let schema = parquet::schema::types::SchemaDescriptor::new(super::super::points_schema::schema().unwrap());
    assert_eq!(schema.num_columns(), described.len());
    for (column, described) in schema.columns().iter().zip(described) {
        assert_eq!((column.name(), column.max_def_level() > 0), (described.name.as_str(), described.nullable));
        let of = match (column.physical_type(), column.logical_type_ref()) {
            (Type::BYTE_ARRAY, Some(LogicalType::String)) => ColumnType::Text,
            (Type::BOOLEAN, None) => ColumnType::Bool,
            (Type::INT32, None) => ColumnType::Int,
            (Type::INT64, None) => ColumnType::Long,
            (Type::INT64, Some(LogicalType::Timestamp { .. })) => ColumnType::Time,
            (Type::DOUBLE, None) => ColumnType::Double,
            other => panic!("{}: {other:?}", column.name()),
        };
        assert_eq!(of, described.of, "{}", column.name());
    }
    for kind in FileKind::ALL {
        crate::columnar::columns_of(*kind).unwrap();
    }
}
