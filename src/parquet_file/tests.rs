//! Points and tables go out and come back; the library itself reads every column with the page index required.

mod cells;
mod part;

use std::collections::HashMap;

use bytes::Bytes;
use parquet::column::page::Page;
use parquet::data_type::{ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;

use super::points_schema::at;
use super::*;
use crate::columnar::{TableRows, sort_points};
use crate::model::*;

/// What one point should read back as.
type Point = (Vec<u8>, u32, u8, i64, String, u8, bool, i64);

fn label(number: usize) -> SeriesLabel {
    let host = format!("host-{number:06}");
    SeriesLabel {
        metric: (!number.is_multiple_of(7)).then(|| format!("metric.{}", number % 5)),
        tags_json: format!("{{\"host\":\"{host}\",\"long\":\"{}\"}}", "ü".repeat(40)),
        tags: vec![("host".into(), host)],
        complete: true,
    }
}

/// `series` series of `rows` segments with `len` points; forms, values and write times vary with the numbers.
fn batch(series: usize, rows: usize, len: usize) -> PointBatch {
    let mut batch = PointBatch::default();
    for number in 0..series {
        let metric = (number * 5 / series.max(1)) as u8;
        batch.series.index_of(&[&[0, 0, metric][..], &(number as u32).to_be_bytes()[..]].concat());
    }
    for row in 0..rows {
        for number in 0..series {
            push_segment(&mut batch, number, row, len);
        }
    }
    batch
}

fn push_segment(batch: &mut PointBatch, number: usize, row: usize, len: usize) {
    let base = 1_700_000_000 / 3600 * 3600 + 3600 * row as u32;
    let form = [Form::Compacted, Form::Single, Form::Appended3, Form::CompactedBareOdd][number % 4];
    let (start, int_start, float_start, delays) =
        (batch.timestamps.len(), batch.ints.len(), batch.floats.len(), batch.delays.len());
    for point in 0..len {
        batch.timestamps.push(i64::from(base) * 1000 + (point as i64 * 3_599_999) / len.max(1) as i64);
        let mut flags =
            if (number + point).is_multiple_of(3) && number % 2 == 1 || number % 5 == 4 { 0x0f } else { 0x03 };
        if flags == 0x0f {
            batch.floats.push((point * number) as f64 * 0.37 - 5.0);
        } else {
            batch.ints.push((point * 31 + number) as i64 - 100);
        }
        flags |= if point % 11 == 3 { FLAG_MILLISECONDS } else { 0 };
        flags |= if point % 13 == 3 { FLAG_SUPERSEDED } else { 0 };
        batch.flags.push(flags);
        if form == Form::Single {
            batch.delays.push((point * 7 + row) as i64 - 3);
        }
    }
    let shared = WriteTime::Shared(i64::from(base) * 1000 + number as i64);
    batch.segments.push(Segment {
        series: number as u32,
        base,
        start,
        len,
        int_start,
        float_start,
        form,
        layout: 0,
        exact: row % 3 != 1,
        write_time: if form == Form::Single { WriteTime::Delays(delays) } else { shared },
        checksum: 0,
    });
}

fn points(batch: &PointBatch) -> Vec<Point> {
    let mut points = Vec::new();
    for segment in &batch.segments {
        let (mut int, mut float) = (segment.int_start, segment.float_start);
        for index in 0..segment.len {
            let flags = batch.flags[segment.start + index];
            let value = if flags & 8 != 0 {
                float += 1;
                format!("f{:016x}", batch.floats[float - 1].to_bits())
            } else {
                int += 1;
                format!("i{}", batch.ints[int - 1])
            };
            let timestamp = batch.timestamps[segment.start + index];
            let written = match segment.write_time {
                WriteTime::Shared(ms) => ms,
                WriteTime::Delays(at) => timestamp + batch.delays[at + index],
            };
            let tsuid = batch.series.get(segment.series as usize).unwrap().to_vec();
            points.push((tsuid, segment.base, segment.form as u8, timestamp, value, flags, segment.exact, written));
        }
    }
    points
}

fn write(batches: &[PointBatch]) -> (Bytes, FileSummary) {
    let mut writer = PointsWriter::new(Vec::new(), 3, "tsdb", vec![("format".into(), "1".into())]).unwrap();
    for batch in batches {
        let labels: LabelTable = (0..batch.series.len()).map(label).collect();
        let ids: Vec<i64> = (0..batch.series.len() as i64).map(|id| id + (7 << 40)).collect();
        writer.write(batch, &labels, &ids).unwrap();
    }
    let (bytes, summary) = writer.finish().unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    (Bytes::from(bytes), summary)
}

fn read(bytes: Bytes) -> Vec<PointBatch> {
    let mut reader = PointsReader::open(bytes).unwrap();
    assert!(reader.footer().contains(&("format".to_owned(), "1".to_owned())));
    std::iter::from_fn(|| reader.next_group().unwrap()).collect()
}

fn round_trip(series: usize, rows: usize, len: usize) -> Bytes {
    let sorted = sort_points(batch(series, rows, len));
    let (bytes, summary) = write(std::slice::from_ref(&sorted));
    assert_eq!(summary.rows as usize, series * rows * len);
    let back: Vec<Point> = read(bytes.clone()).iter().flat_map(points).collect();
    assert!(points(&sorted) == back, "{series} x {rows} x {len}: the points differ");
    check_with_page_index(&bytes, &sorted);
    bytes
}

/// Values of a column of a file that was opened with its page index, nulls left out.
fn column<T: DataType>(bytes: &Bytes, place: usize) -> Vec<T::T> {
    let options = ReadOptionsBuilder::new().with_page_index().build();
    let reader = SerializedFileReader::new_with_options(bytes.clone(), options).unwrap();
    let mut values = Vec::new();
    for index in 0..reader.num_row_groups() {
        let group = reader.get_row_group(index).unwrap();
        let rows = group.metadata().num_rows() as usize;
        let column = group.get_column_reader(place).unwrap();
        let mut column = parquet::column::reader::get_typed_column_reader::<T>(column);
        let (mut levels, mut more) = (Vec::new(), Vec::new());
        let (read, ..) = column.read_records(rows, Some(&mut levels), None, &mut more).unwrap();
        assert_eq!(read, rows);
        values.extend(more);
    }
    values
}

fn check_with_page_index(bytes: &Bytes, sorted: &PointBatch) {
    let per_series = |value: &dyn Fn(usize) -> Option<String>| -> Vec<String> {
        sorted.segments.iter().flat_map(|s| std::iter::repeat_n(value(s.series as usize), s.len)).flatten().collect()
    };
    let text = |place| -> Vec<String> {
        column::<ByteArrayType>(bytes, place).iter().map(|value| value.as_utf8().unwrap().to_owned()).collect()
    };
    assert!(text(at::METRIC) == per_series(&|s| label(s).metric), "metric");
    assert!(text(at::TAGS) == per_series(&|s| Some(label(s).tags_json)), "tags");
    assert!(text(at::TSUID) == per_series(&|s| Some(crate::model::hex(sorted.series.get(s).unwrap()))), "tsuid");
    let ids: Vec<String> = column::<Int64Type>(bytes, at::SERIES_ID).iter().map(i64::to_string).collect();
    assert!(ids == per_series(&|s| Some((s as i64 + (7 << 40)).to_string())), "series_id");
    let forms: i64 = column::<Int32Type>(bytes, at::FORM).iter().map(|form| i64::from(*form)).sum();
    let expected: i64 = sorted.segments.iter().map(|s| s.form as i64 * s.len as i64).sum();
    assert_eq!(forms, expected);
    check_indexes(bytes);
}

/// Every chunk has statistics and its indexes, and its pages add up to it.
fn check_indexes(bytes: &Bytes) {
    let options = ReadOptionsBuilder::new().with_page_index().build();
    let reader = SerializedFileReader::new_with_options(bytes.clone(), options).unwrap();
    for (index, group) in reader.metadata().row_groups().iter().enumerate() {
        let pages = reader.get_row_group(index).unwrap();
        for (place, chunk) in group.columns().iter().enumerate() {
            let indexed = !matches!(place, at::TABLE | at::TAGS);
            assert_eq!(chunk.column_index_offset().is_some(), indexed, "column index of column {place}");
            assert!(chunk.offset_index_offset().is_some(), "column {place} has no offset index");
            let statistics = chunk.statistics().unwrap();
            let nulls = statistics.null_count_opt().unwrap() as i64;
            let all_null = nulls == chunk.num_values();
            assert_eq!(statistics.min_bytes_opt().is_none(), all_null, "column {place}");
            let data_pages =
                pages.get_column_page_reader(place).unwrap().filter_map(Result::ok).filter(Page::is_data_page);
            let rows: u32 = data_pages.map(|page| page.num_values()).sum();
            assert_eq!(i64::from(rows), chunk.num_values(), "column {place}");
        }
    }
}

#[test]
fn points_come_back_at_every_dictionary_width() {
    for series in [1, 2, 3, 255, 256, 257, 511, 512, 513] {
        round_trip(series, 2, 3);
    }
}

#[test]
fn points_come_back_at_wide_dictionaries() {
    for series in [65_536, 65_537, 131_073] {
        round_trip(series, 1, 1);
    }
}

#[test]
fn points_come_back_over_many_pages_and_groups() {
    for (series, rows, len) in
        [(1, 1, 20_000), (1, 1, 20_001), (4, 30, 600), (10, 100, 60), (5, 50, 1000), (40, 24, 301)]
    {
        round_trip(series, rows, len);
    }
}

#[test]
fn dictionary_pages_have_the_expected_bit_width() {
    for (series, width) in [(1, 1), (2, 1), (3, 2), (256, 8), (257, 9), (65_536, 16), (65_537, 17)] {
        let (bytes, _) = write(&[sort_points(batch(series, 1, 1))]);
        let reader = SerializedFileReader::new(bytes).unwrap();
        let group = reader.get_row_group(0).unwrap();
        let mut pages = group.get_column_page_reader(at::TSUID).unwrap();
        let entries = pages.get_next_page().unwrap().unwrap();
        assert!(entries.is_dictionary_page());
        assert!(reader.num_row_groups() > 1 || entries.num_values() as usize == series);
        let first = pages.get_next_page().unwrap().unwrap();
        if reader.num_row_groups() == 1 {
            assert_eq!(first.buffer()[0], width, "{series} series");
        }
    }
}

/// Values at the ends of their ranges, runs around the limits of packing, and columns of every length: the library's
/// reader finds what was written, bit by bit.
#[test]
fn every_value_and_length_comes_back_bit_by_bit() {
    let ints = [0, 1, -1, i64::MAX, i64::MIN, 127, -128, 1 << 40];
    let floats = [0.0, -0.0, 1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, -1e300];
    let shapes: [&dyn Fn(usize) -> usize; 5] = [&|_| 0, &|n| n % 2, &|n| n, &|n| n / 9 % 8, &|n| n * n / 7];
    for len in (0..20).chain([63, 64, 65, 255, 256, 257, 258, 511, 513, 1000, 20_000, 20_001]) {
        for (shape, pick) in shapes.iter().enumerate() {
            for mixed in [false, true] {
                let mut batch = PointBatch { series: [[0, 0, 1]].into_iter().collect(), ..PointBatch::default() };
                for n in 0..len {
                    if mixed && pick(n) % 3 == 0 || !mixed && shape % 2 == 0 {
                        batch.floats.push(floats[pick(n) % 8]);
                        batch.flags.push(0x0f);
                    } else {
                        batch.ints.push(ints[pick(n) % 8].wrapping_add((n / 300) as i64));
                        batch.flags.push(0x07);
                    }
                    batch.timestamps.push(ints[pick(n) % 2] + n as i64 * 1000);
                    batch.delays.push(ints[pick(n) % 8] / 2);
                }
                let segment = Segment {
                    series: 0,
                    base: 0,
                    start: 0,
                    len,
                    int_start: 0,
                    float_start: 0,
                    form: Form::Single,
                    layout: 0,
                    exact: true,
                    write_time: WriteTime::Delays(0),
                    checksum: 0,
                };
                batch.segments.extend((len > 0).then_some(segment));
                let (bytes, _) = write(std::slice::from_ref(&batch));
                let found = (
                    column::<Int64Type>(&bytes, at::VALUE_INT),
                    column::<DoubleType>(&bytes, at::VALUE_FLOAT).iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
                    column::<Int64Type>(&bytes, at::TIMESTAMP),
                    column::<Int64Type>(&bytes, at::WRITE_DELAY),
                );
                let expected = (
                    batch.ints,
                    batch.floats.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
                    batch.timestamps,
                    batch.delays,
                );
                assert!(found == expected, "{len} values of shape {shape}, mixed {mixed}");
            }
        }
    }
}

#[test]
fn every_kind_of_value_takes_its_own_encoding() {
    let encoding = |values: &dyn Fn(usize, &mut PointBatch)| {
        let mut batch = PointBatch { series: [[0, 0, 1]].into_iter().collect(), ..PointBatch::default() };
        for point in 0..30_000 {
            values(point, &mut batch);
            batch.timestamps.push(1_700_000_000_000 + point as i64);
        }
        batch.flags = vec![if batch.ints.is_empty() { 0x0f } else { 0x07 }; 30_000];
        let write_time = WriteTime::Shared(0);
        let (form, exact) = (Form::Compacted, true);
        let segment = Segment {
            len: 30_000,
            form,
            layout: 0,
            exact,
            write_time,
            series: 0,
            base: 0,
            start: 0,
            int_start: 0,
            float_start: 0,
            checksum: 0,
        };
        batch.segments.push(segment);
        let (bytes, _) = write(&[batch]);
        let reader = SerializedFileReader::new(bytes).unwrap();
        let columns = [at::VALUE_INT, at::VALUE_FLOAT]
            .map(|at| reader.metadata().row_group(0).column(at).encodings().collect::<Vec<_>>());
        columns.concat()
    };
    use parquet::basic::Encoding::{BYTE_STREAM_SPLIT, DELTA_BINARY_PACKED, RLE_DICTIONARY};
    let noise = |n: usize| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12;
    assert!(encoding(&|n, batch| batch.ints.push((n * n) as i64)).contains(&DELTA_BINARY_PACKED));
    assert!(encoding(&|n, batch| batch.ints.push(((noise(n) % 2) << 50) as i64)).contains(&RLE_DICTIONARY));
    assert!(encoding(&|n, batch| batch.floats.push((noise(n) % 100) as f64 / 100.0)).contains(&RLE_DICTIONARY));
    assert!(
        encoding(&|n, batch| batch.floats.push(1.0 + noise(n) as f64 / (1u64 << 52) as f64))
            .contains(&BYTE_STREAM_SPLIT)
    );
}

#[test]
fn an_empty_file_is_a_file() {
    let (bytes, summary) = write(&[PointBatch::default()]);
    assert_eq!((summary.rows, summary.row_groups, summary.ranges), (0, 0, ColumnRanges::default()));
    assert!(read(bytes).is_empty());
}

#[test]
fn a_group_ends_where_a_large_metric_ends() {
    let sorted = sort_points(batch(5, 100, 1100));
    let (bytes, summary) = write(std::slice::from_ref(&sorted));
    assert_eq!(summary.row_groups, 5);
    let groups = read(bytes);
    assert!(groups.iter().all(|group| group.series.iter().all(|s| s[..3] == group.series.get(0).unwrap()[..3])));
    let times = (summary.ranges.first_ms, summary.ranges.last_ms);
    assert_eq!(times, (Some(sorted.timestamps[0]), sorted.timestamps.iter().max().copied()));
    assert_eq!((summary.ranges.first_metric.as_deref(), summary.ranges.metric_nulls), (Some("metric.1"), 110_000));
    assert_eq!(summary.ranges.last_metric.as_deref(), Some("metric.4"));
}

#[test]
fn small_metrics_share_a_group() {
    let (_, summary) = write(&[sort_points(batch(100, 2, 10))]);
    assert_eq!(summary.row_groups, 1);
}

#[test]
fn a_batch_that_is_not_laid_out_is_refused() {
    let mut unsorted = batch(3, 3, 3);
    unsorted.segments.reverse();
    let labels: LabelTable = (0..3).map(label).collect();
    let mut writer = PointsWriter::new(Vec::new(), 3, "tsdb", Vec::new()).unwrap();
    assert!(matches!(writer.write(&unsorted, &labels, &[1, 2, 3]), Err(FileError::Batch(_))));
    assert!(matches!(writer.write(&sort_points(unsorted), &labels, &[1]), Err(FileError::Batch(_))));
}

#[test]
fn the_sink_error_is_named_and_transient() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("disk full"))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut writer = PointsWriter::new(Full, 3, "tsdb", Vec::new()).unwrap();
    let labels: LabelTable = (0..3).map(label).collect();
    let error = writer.write(&sort_points(batch(3, 3, 500)), &labels, &[1, 2, 3]).unwrap_err();
    assert!(error.to_string().contains("disk full"), "{error}");
    assert_eq!(error.retry(), Retry::Transient);
}

#[test]
fn damaged_points_are_errors_or_points_but_no_panic() {
    let (bytes, _) = write(&[sort_points(batch(12, 10, 40))]);
    std::panic::set_hook(Box::new(|_| ()));
    let mut seed = 1u64;
    let (mut errors, mut panics) = (0, 0);
    for _ in 0..400 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut damaged = bytes.to_vec();
        let place = (seed >> 20) as usize % damaged.len();
        damaged[place] ^= (seed >> 11) as u8 | 1;
        let Ok(mut reader) = PointsReader::open(Bytes::from(damaged)) else {
            errors += 1;
            continue;
        };
        loop {
            match reader.next_group() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    errors += 1;
                    panics += usize::from(matches!(error, FileError::Undecodable));
                }
            }
        }
    }
    let _ = std::panic::take_hook();
    println!("{errors} errors, {panics} of them caught panics of the library");
    assert!(errors > 50, "only {errors} of 400 damages were noticed");
    assert!(PointsReader::open(bytes.slice(..bytes.len() / 2)).is_err());
    assert!(PointsReader::open(Bytes::new()).is_err());
}

fn cell(number: usize) -> OwnedCell {
    OwnedCell {
        row: vec![0, (number / 3) as u8],
        family: b"t".to_vec(),
        qualifier: vec![1, number as u8, 0xff],
        timestamp: 1_700_000_000_000 + number as i64,
        kind: kind::PUT,
        value: vec![0xfe; number % 5],
    }
}

/// Writes the rows, reads the cells back and compares.
fn cells_come_back(rows: TableRows<'_>, expected: &[OwnedCell]) {
    let mut writer = TableWriter::new(rows.kind(), Vec::new(), vec![("format".into(), "1".into())]).unwrap();
    writer.write(rows).unwrap();
    let (bytes, summary) = writer.finish().unwrap();
    assert_eq!((summary.rows, summary.bytes), (rows.len() as u64, bytes.len() as u64));
    let mut reader = CellReader::open(Bytes::from(bytes), rows.len() as u64).unwrap();
    let mut block = CellBlock::new();
    let mut reasons = 0;
    while reader.next(&mut block).unwrap() {
        reasons += reader.reasons().len();
    }
    let back: Vec<OwnedCell> = block.iter().map(|cell| cell.to_owned()).collect();
    assert_eq!(back, expected, "{:?}", rows.kind());
    assert_eq!(reasons, if rows.kind() == FileKind::Cells { expected.len() } else { 0 });
    assert!(block.row_count() <= expected.len() && (expected.is_empty() || block.row_count() == 4));
}

#[test]
fn exact_cells_come_back_from_every_table() {
    let cells: Vec<OwnedCell> = (0..10).map(cell).collect();
    let labels: SeriesLabels = HashMap::from([("000001".to_owned(), label(1))]);
    let tables = crate::columnar::samples(&cells);
    let expect = |rows: TableRows<'_>| cells_come_back(rows, &cells);
    expect(TableRows::Annotations(&tables.annotations, &labels));
    expect(TableRows::Histograms(&tables.histograms, &labels));
    expect(TableRows::Rollups(&tables.rollups, &labels));
    expect(TableRows::Uids(&tables.uids));
    expect(TableRows::Meta(&tables.meta));
    expect(TableRows::Tree(&tables.tree));
    cells_come_back(TableRows::Uids(&[]), &[]);
    let mut odd = cells.clone();
    odd[3].timestamp = i64::MIN;
    odd[4].timestamp = i64::MAX;
    odd[5].kind = kind::DELETE_FAMILY;
    let raw: Vec<RawCell> =
        odd.iter().map(|cell| RawCell { cell: cell.clone(), reason: RawReason::OddTimestamp }).collect();
    cells_come_back(TableRows::Cells("tsdb", &raw), &odd);
}

#[test]
fn rows_of_another_table_are_refused() {
    let mut writer = TableWriter::new(FileKind::Uids, Vec::new(), Vec::new()).unwrap();
    assert!(matches!(writer.write(TableRows::Tree(&[])), Err(FileError::WrongKind { .. })));
    assert!(TableWriter::new(FileKind::Points, Vec::new(), Vec::new()).is_err());
    let (bytes, _) = writer.finish().unwrap();
    assert!(matches!(PointsReader::open(Bytes::from(bytes.clone())), Err(FileError::NotThisKind { .. })));
    assert!(read_files(Bytes::from(bytes)).unwrap().is_empty());
}

fn catalogue(rows: TableRows<'_>) -> Bytes {
    let mut writer = TableWriter::new(rows.kind(), Vec::new(), Vec::new()).unwrap();
    writer.write(rows).unwrap();
    Bytes::from(writer.finish().unwrap().0)
}

#[test]
fn the_catalogue_comes_back() {
    let tally = Tally { rows: 1, cells: 2, points: 3, bytes: 4, checksum: u64::MAX };
    let series: Vec<SeriesRow> =
        (0..5).map(|id| SeriesRow { series_id: id, tsuid: format!("{id:06X}"), label: label(id as usize) }).collect();
    let rows = SeriesRows {
        chosen: &[0, 1, 2, 3, 4],
        ids: &[0, 1, 2, 3, 4],
        series: &(0..5).map(|id| [0, 0, id]).collect(),
        labels: &(0..5).map(label).collect(),
    };
    assert_eq!(read_series(catalogue(TableRows::Series(rows))).unwrap(), series);
    let file = FileRow {
        path: "points/a.parquet".into(),
        table: "tsdb".into(),
        kind: FileKind::Points,
        attempt: "0a0b0c0d0e0f".into(),
        rows: 5,
        size: 6,
        blake3: "ab".into(),
        footer_size: 1,
        footer_blake3: "ef".into(),
        tally,
        first_row: Some(vec![0, 1]),
        last_row: None,
        ranges: {
            let mut ranges = ColumnRanges { first_ms: Some(-5), timestamp_nulls: 4, ..ColumnRanges::default() };
            (0..150).for_each(|at| ranges.add_metric(Some(&format!("m{at}")), 1));
            ranges.add_metric(None, 3);
            ranges
        },
    };
    assert_eq!((file.ranges.names.metrics.len(), file.ranges.names.metrics_left_out), (METRICS_PER_FILE, 50));
    assert_eq!(read_files(catalogue(TableRows::Files(std::slice::from_ref(&file)))).unwrap(), [file]);
    let shard = ShardRow {
        table: "tsdb".into(),
        attempt: "0a0b0c0d0e0f".into(),
        start: vec![],
        stop: vec![0xff],
        started_ms: 7,
        finished_ms: 8,
        tally,
    };
    assert_eq!(read_shards(catalogue(TableRows::Shards(std::slice::from_ref(&shard)))).unwrap(), [shard]);
    let metric = MetricRow {
        table: "tsdb".into(),
        uid: "000001".into(),
        metric: None,
        points: 9,
        first_time: Some(1),
        last_time: Some(2),
    };
    assert_eq!(read_metrics(catalogue(TableRows::Metrics(std::slice::from_ref(&metric)))).unwrap(), [metric]);
}
