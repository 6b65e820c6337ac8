//! What is read of a part of a file is what the whole file has of it.

use std::ops::Range;

use super::*;

const HOUR_MS: i64 = 3_600_000;

/// Series by their number, which ends a TSUID here, and times.
struct Wanted {
    series: Range<u32>,
    from_ms: i64,
    to_ms: i64,
    rows: Range<Vec<u8>>,
}

impl Wanted {
    fn of(series: Range<u32>, from_ms: i64, to_ms: i64) -> Self {
        Self { series, from_ms, to_ms, rows: vec![]..vec![0xff] }
    }

    /// True for all points of a series in an hour that has a wanted time.
    fn has_hour(&self, point: &Point) -> bool {
        let base_ms = i64::from(point.1) * 1000;
        self.has(&point.0) && base_ms < self.to_ms && self.from_ms < base_ms + HOUR_MS
    }

    fn has(&self, tsuid: &[u8]) -> bool {
        self.series.contains(&u32::from_be_bytes(tsuid[3..].try_into().unwrap()))
    }
}

impl Choose for Wanted {
    fn may_want_series(&self, first: &str, last: &str) -> bool {
        let number = |tsuid: &str| u32::from_str_radix(&tsuid[6..14], 16).unwrap();
        number(first) < self.series.end && self.series.start <= number(last)
    }

    fn wants_series(&mut self, tsuid: &[u8]) -> bool {
        self.has(tsuid)
    }

    fn may_want_times(&self, first_ms: i64, last_ms: i64) -> bool {
        // A cell has points of one hour.
        first_ms < self.to_ms.saturating_add(HOUR_MS) && self.from_ms <= last_ms.saturating_add(HOUR_MS)
    }

    fn may_want_rows(&self, first: &[u8], last: &[u8]) -> bool {
        first < self.rows.end.as_slice() && self.rows.start.as_slice() <= last
    }
}

/// Reads ranges, and counts their bytes and the calls.
fn counting<'a>(
    file: &'a Bytes,
    (read, calls): (&'a mut u64, &'a mut u64),
) -> impl FnMut(&[Range<u64>]) -> Result<Vec<Bytes>, FileError> + 'a {
    move |ranges| {
        *calls += 1;
        *read += ranges.iter().map(|range| range.end - range.start).sum::<u64>();
        Ok(ranges.iter().map(|range| file.slice(range.start as usize..range.end as usize)).collect())
    }
}

fn open(file: &Bytes, summary: &FileSummary) -> FilePart {
    let footer = file.slice(file.len() - summary.footer_bytes as usize..);
    assert_eq!(blake3::hash(&footer).to_hex().as_str(), summary.footer_blake3);
    FilePart::open(footer, file.len() as u64, summary.rows).unwrap()
}

/// The points of wanted hours, whole, the bytes that were read for them, and the batches of the reader.
fn read_part(file: &Bytes, summary: &FileSummary, mut some: Wanted) -> (Vec<Point>, u64, Vec<usize>) {
    let (mut read, mut calls) = (0, 0);
    let mut reader = open(file, summary).points(&mut some, &mut counting(file, (&mut read, &mut calls))).unwrap();
    assert!(calls <= 2, "one request for the series, one for the pages: {calls}");
    let batches = reader.batches();
    let groups: Vec<PointBatch> = std::iter::from_fn(|| reader.next_group().unwrap()).collect();
    assert_eq!(batches.iter().sum::<usize>(), groups.len());
    (groups.iter().flat_map(points).filter(|point| some.has_hour(point)).collect(), read, batches)
}

#[test]
fn a_part_of_points_is_what_the_file_has_of_it() {
    // Groups of more than one metric, and of one; pages that end inside series and inside cells.
    let mut batches = [batch(90, 30, 97), batch(3, 8, 9000), batch(40, 10, 50)];
    let mut noise = 1_u64;
    for value in batches.iter_mut().flat_map(|batch| &mut batch.ints) {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *value = (noise >> 20) as i64;
    }
    let batches = batches.map(sort_points);
    let (file, summary) = write(&batches);
    let all: Vec<Point> = read(file.clone()).iter().flat_map(points).collect();
    let hour = HOUR_MS;
    let begin = 1_700_000_000 / 3600 * hour;
    let ever = (i64::MIN, i64::MAX);
    let mut reads = Vec::new();
    for (series, (from_ms, to_ms)) in [
        (0..1, ever),
        (1..2, ever),
        (41..42, ever),
        (88..90, ever),
        (0..3, ever),
        (0..3, (begin + 2 * hour + 600_000, begin + 2 * hour + 1_200_000)),
        (0..1000, (begin + 29 * hour, begin + 30 * hour)),
        (0..1000, ever),
    ] {
        let wanted = Wanted::of(series.clone(), from_ms, to_ms);
        let expected: Vec<Point> = all.iter().filter(|point| wanted.has_hour(point)).cloned().collect();
        assert!(!expected.is_empty());
        let (found, read, groups) = read_part(&file, &summary, wanted);
        assert!(found == expected, "{series:?} {from_ms} {to_ms}: {} of {} points", found.len(), expected.len());
        assert!(groups.len() <= 3, "{groups:?}");
        let share = read * 100 / file.len() as u64;
        assert!(share <= 110 && (series.start < 3 || series.len() > 2 || share < 10), "{series:?}: {share} %");
        reads.push(read);
    }
    assert!(reads[5] * 4 < reads[4] * 3, "pages of other hours are left out: {reads:?}");
    let (nothing, read, groups) = read_part(&file, &summary, Wanted::of(500..501, 0, i64::MAX));
    assert!(nothing.is_empty() && read == 0 && groups.is_empty());
}

#[test]
fn a_part_that_was_changed_is_refused() {
    let (file, summary) = write(&[sort_points(batch(90, 30, 97))]);
    let data = file.len() - summary.footer_bytes as usize;
    let mut seen = 0;
    for at in (0..data).step_by(data / 50) {
        let mut damaged = file.to_vec();
        damaged[at] ^= 0x10;
        let damaged = Bytes::from(damaged);
        let mut touched = false;
        let mut fetch = |ranges: &[Range<u64>]| {
            touched |= ranges.iter().any(|range| range.contains(&(at as u64)));
            Ok::<_, FileError>(ranges.iter().map(|r| damaged.slice(r.start as usize..r.end as usize)).collect())
        };
        let result = open(&file, &summary).points(&mut Wanted::of(0..5, i64::MIN, i64::MAX), &mut fetch);
        assert_eq!(result.is_err(), touched, "byte {at}");
        seen += usize::from(touched);
    }
    assert!(seen > 0 && seen < 50, "{seen}");
    let footer = file.slice(data..);
    assert!(FilePart::open(footer.clone(), file.len() as u64, summary.rows + 1).is_err(), "other rows");
    assert!(FilePart::open(footer.clone(), file.len() as u64 + 20_000, summary.rows).is_err(), "another size");
    assert!(FilePart::open(footer.slice(..footer.len() - 1), file.len() as u64, summary.rows).is_err());
}

#[test]
fn a_part_of_cells_is_whole_row_groups() {
    let mut writer = TableWriter::new(FileKind::Cells, Vec::new(), Vec::new()).unwrap();
    let noise =
        |number: u32| (0..2000u32).flat_map(move |at| (at ^ number << 16).wrapping_mul(2_654_435_761).to_be_bytes());
    for number in 0..6000u32 {
        let (row, family, qualifier) = (number.to_be_bytes().to_vec(), b"t".to_vec(), b"q".to_vec());
        let cell = OwnedCell { row, family, qualifier, timestamp: 1, kind: kind::PUT, value: noise(number).collect() };
        let raw = RawCell { cell, reason: RawReason::OddTimestamp };
        writer.write(TableRows::Cells("tsdb", &[raw])).unwrap();
    }
    let (file, summary) = writer.finish().unwrap();
    let file = Bytes::from(file);
    assert!(summary.row_groups > 3);
    let some =
        Wanted { rows: 5000u32.to_be_bytes().to_vec()..5001u32.to_be_bytes().to_vec(), ..Wanted::of(0..0, 0, 0) };
    let (mut read, mut calls) = (0, 0);
    let mut reader = open(&file, &summary).cells(&some, &mut counting(&file, (&mut read, &mut calls))).unwrap();
    let mut found = CellBlock::new();
    while reader.next(&mut found).unwrap() {}
    let rows: Vec<Vec<u8>> = found.rows().map(|row| row.key.to_vec()).collect();
    assert!(rows.contains(&5000u32.to_be_bytes().to_vec()) && rows.len() < 6000, "{}", rows.len());
    assert_eq!(calls, 1);
    assert!(read < file.len() as u64 / 2, "{read} of {}", file.len());
}
