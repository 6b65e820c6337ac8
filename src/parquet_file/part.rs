//! A part of a file, read without the rest: of points the pages that hold wanted series and times, of other cells the row
//! groups that hold wanted row keys.
//!
//! The footer comes first, whole: the catalogue has its hash, and it has the hashes of all blocks. Then, of the row groups
//! whose statistics do not rule them out, the column of TSUIDs, which is small and tells which pages have a wanted series;
//! then the pages themselves, of the columns that rebuild cells. A cell that is wanted is there with all of its points: they
//! share a series, and who chooses times chooses them wider than the hour of a row. Of cells that are not wanted some points
//! may be missing.

use std::ops::Range;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;

use super::FileError;
use super::blocks::{Blocks, Fetch, Fetched};
use super::cell_reader::{CellReader, Places};
use super::column::{check_rows, guarded};
use super::part_file::{ChunkPages, PartFile, PartGroup};
use super::points_reader::{PointsReader, batches_of, check_schema, is_restored};
use super::points_schema::at;
use super::run_reader::Runs;
use crate::model::unhex;

/// What of a file is wanted.
pub trait Choose {
    /// False when no series between two TSUIDs is wanted. Both are upper-case hex, and may be cut short.
    fn may_want_series(&self, first: &str, last: &str) -> bool;
    /// True for a TSUID that is wanted.
    fn wants_series(&mut self, tsuid: &[u8]) -> bool;
    /// False when no point between two times is wanted, in ms, or belongs to a cell with a wanted point.
    fn may_want_times(&self, first_ms: i64, last_ms: i64) -> bool;
    /// False when no row between two keys is wanted, which may be cut short.
    fn may_want_rows(&self, first: &[u8], last: &[u8]) -> bool;
}

/// A file whose footer was read.
pub struct FilePart {
    file: ParquetMetaData,
    blocks: Blocks,
}

impl FilePart {
    /// Reads the footer of a file of so many bytes and rows: from its page indexes to its end, already checked.
    ///
    /// # Errors
    /// [`FileError`] when it is not the footer of such a file.
    pub fn open(footer: Bytes, size: u64, rows: u64) -> Result<Self, FileError> {
        let end = size.checked_sub(footer.len() as u64).ok_or(FileError::Undecodable)?;
        guarded(|| {
            let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
            reader.try_parse_sized(&footer, size).map_err(FileError::Damaged)?;
            let file = reader.finish().map_err(FileError::Damaged)?;
            check_rows(&file, rows)?;
            let blocks = Blocks::read(file.file_metadata(), end)?;
            Ok(Self { file, blocks })
        })
    }

    /// A reader of the wanted points of a points file, and of others beside them.
    ///
    /// # Errors
    /// [`FileError`] when the file is damaged or holds something else; those of `fetch`.
    pub fn points<E: From<FileError>>(self, choose: &mut dyn Choose, fetch: Fetch<'_, E>) -> Result<PointsReader, E> {
        check_schema(self.file.file_metadata().schema_descr())?;
        let groups: Vec<usize> =
            (0..self.file.num_row_groups()).filter(|group| self.may_want(*group, choose)).collect();
        let tsuids = groups.iter().map(|group| self.whole(*group, |place| place == at::TSUID));
        let tsuids: Vec<PartGroup> = tsuids.collect::<Result<_, _>>()?;
        let mut fetched = Fetched::default();
        self.blocks.fetch(ranges(&tsuids), &mut fetched, fetch)?;
        let tsuids = PartFile::new(self.file.clone(), &tsuids, &fetched)?;
        let mut parts = Vec::new();
        for (place, group) in groups.into_iter().enumerate() {
            let rows = guarded(|| wanted_rows(&tsuids, place, choose))?;
            parts.extend(self.pages(group, &rows, choose)?);
        }
        self.blocks.fetch(ranges(&parts), &mut fetched, fetch)?;
        let batches = batches_of(&self.file);
        let file = PartFile::new(self.file, &parts, &fetched)?;
        Ok(PointsReader::of_part(file, in_batches(&batches, &parts)))
    }

    /// A reader of the wanted cells of any file but points and the catalogue, and of others beside them.
    ///
    /// # Errors
    /// As [`points`](Self::points).
    pub fn cells<E: From<FileError>>(self, choose: &dyn Choose, fetch: Fetch<'_, E>) -> Result<CellReader, E> {
        let places = Places::find(self.file.file_metadata().schema_descr())?;
        let may_want = |group: &usize| {
            let (first, last) =
                text_range(self.file.row_group(*group).column(places.row)).unwrap_or((&[], &[0xff; 64]));
            choose.may_want_rows(first, last)
        };
        let groups = (0..self.file.num_row_groups()).filter(may_want);
        let parts = groups.map(|group| self.whole(group, |place| places.has(place))).collect::<Result<Vec<_>, _>>()?;
        let mut fetched = Fetched::default();
        self.blocks.fetch(ranges(&parts), &mut fetched, fetch)?;
        Ok(CellReader::of_part(PartFile::new(self.file, &parts, &fetched)?, places))
    }

    /// False for a row group of points whose statistics show that nothing of it is wanted.
    fn may_want(&self, group: usize, choose: &dyn Choose) -> bool {
        let group = self.file.row_group(group);
        let series = text_range(group.column(at::TSUID));
        let series =
            series.and_then(|(first, last)| Some((std::str::from_utf8(first).ok()?, std::str::from_utf8(last).ok()?)));
        let times = match group.column(at::TIMESTAMP).statistics() {
            Some(Statistics::Int64(range)) => range.min_opt().copied().zip(range.max_opt().copied()),
            _ => None,
        };
        series.is_none_or(|(first, last)| choose.may_want_series(first, last))
            && times.is_none_or(|(first, last)| choose.may_want_times(first, last))
    }

    /// A row group with all pages of some columns.
    fn whole(&self, group: usize, wanted: impl Fn(usize) -> bool) -> Result<PartGroup, FileError> {
        let row_group = self.file.row_group(group);
        let rows = usize::try_from(row_group.num_rows()).map_err(|_| impossible())?;
        let wanted = row_group.columns().iter().enumerate().filter(|(place, _)| wanted(*place));
        let chunks = wanted.map(|(place, column)| {
            let (dictionary, data) = pages_of(column)?;
            Ok(ChunkPages { place, dictionary, data })
        });
        Ok(PartGroup { group, rows, chunks: chunks.collect::<Result<_, FileError>>()? })
    }

    /// The pages of a row group that hold some rows, as often as there are others between them.
    fn pages(&self, group: usize, rows: &[Range<usize>], choose: &dyn Choose) -> Result<Vec<PartGroup>, FileError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let Some(starts) = self.page_starts(group) else { return Ok(vec![self.whole(group, is_restored)?]) };
        let index = self.file.page_index().and_then(|pages| pages.column_index(group, at::TIMESTAMP));
        let in_time = |page: usize| match index {
            Some(ColumnIndexMetaData::INT64(index)) => match (index.min_value(page), index.max_value(page)) {
                (Some(first), Some(last)) => choose.may_want_times(*first, *last),
                _ => true,
            },
            _ => true,
        };
        let mut runs: Vec<Range<usize>> = Vec::new();
        for page in 0..starts.len().saturating_sub(1) {
            let (Some(start), Some(stop)) = (starts.get(page), starts.get(page + 1)) else { break };
            let behind = rows.partition_point(|range| range.end <= *start);
            if rows.get(behind).is_some_and(|range| range.start < *stop) && in_time(page) {
                match runs.last_mut() {
                    Some(run) if run.end == page => run.end += 1,
                    _ => runs.push(page..page + 1),
                }
            }
        }
        runs.into_iter().map(|pages| self.some(group, pages, &starts)).collect()
    }

    /// The first rows of the pages of a row group, and behind them its number of rows; `None` where columns have them in
    /// different places.
    fn page_starts(&self, group: usize) -> Option<Vec<usize>> {
        let pages = self.file.page_index()?;
        let starts = |place| {
            let locations = pages.offset_index(group, place)?.page_locations();
            locations.iter().map(|page| usize::try_from(page.first_row_index).ok()).collect::<Option<Vec<usize>>>()
        };
        let mut found = starts(at::TSUID)?;
        let columns = 0..self.file.row_group(group).num_columns();
        columns.filter(|place| is_restored(*place)).all(|place| starts(place).as_ref() == Some(&found)).then_some(())?;
        found.push(usize::try_from(self.file.row_group(group).num_rows()).ok()?);
        found.is_sorted().then_some(found)
    }

    /// A row group with some of its pages.
    fn some(&self, group: usize, pages: Range<usize>, starts: &[usize]) -> Result<PartGroup, FileError> {
        let rows = starts.get(pages.end).zip(starts.get(pages.start)).map(|(stop, start)| stop - start);
        let chunk = |(place, column): (usize, &ColumnChunkMetaData)| {
            let index =
                self.file.page_index().and_then(|index| index.offset_index(group, place)).ok_or_else(impossible)?;
            let locations = index.page_locations().get(pages.clone()).ok_or_else(impossible)?;
            let (first, last) = locations.first().zip(locations.last()).ok_or_else(impossible)?;
            let stop = last.offset.checked_add(i64::from(last.compressed_page_size)).ok_or_else(impossible)?;
            let data = range(first.offset, stop)?;
            Ok(ChunkPages { place, dictionary: pages_of(column)?.0, data })
        };
        let columns = self.file.row_group(group).columns().iter().enumerate();
        let chunks = columns.filter(|(place, _)| is_restored(*place)).map(chunk).collect::<Result<_, FileError>>()?;
        Ok(PartGroup { group, rows: rows.ok_or_else(impossible)?, chunks })
    }
}

/// The rows of a group that have a wanted series.
fn wanted_rows(tsuids: &PartFile, group: usize, choose: &mut dyn Choose) -> Result<Vec<Range<usize>>, FileError> {
    use parquet::file::reader::FileReader;
    let group = tsuids.get_row_group(group).map_err(FileError::Damaged)?;
    let rows = usize::try_from(group.metadata().num_rows()).map_err(|_| impossible())?;
    let mut runs = Runs::<Bytes>::read(group.as_ref(), at::TSUID, rows)?;
    let (mut wanted, mut row): (Vec<Range<usize>>, _) = (Vec::new(), 0);
    while runs.left() > 0 {
        let count = runs.left();
        let tsuid = runs.take(count).ok_or_else(impossible)?;
        let tsuid =
            unhex(tsuid).ok_or_else(|| FileError::Damaged(ParquetError::General("a TSUID is not hex".into())))?;
        if choose.wants_series(&tsuid) {
            match wanted.last_mut() {
                Some(last) if last.end == row => last.end += count,
                _ => wanted.push(row..row + count),
            }
        }
        row += count;
    }
    Ok(wanted)
}

/// Row groups of each batch that has any.
fn in_batches(batches: &[usize], parts: &[PartGroup]) -> Vec<usize> {
    let mut end = 0;
    let mut counts = Vec::new();
    for batch in batches {
        let begin = end;
        end += batch;
        match parts.iter().filter(|part| (begin..end).contains(&part.group)).count() {
            0 => {}
            count => counts.push(count),
        }
    }
    counts
}

fn ranges(parts: &[PartGroup]) -> Vec<Range<u64>> {
    let of_chunk = |chunk: &ChunkPages| [chunk.dictionary.clone(), chunk.data.clone()];
    parts.iter().flat_map(|part| &part.chunks).flat_map(of_chunk).collect()
}

/// Where the dictionary page of a chunk lies, and where its data pages do.
fn pages_of(column: &ColumnChunkMetaData) -> Result<(Range<u64>, Range<u64>), FileError> {
    let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
    let data = column.data_page_offset();
    let stop = start.checked_add(column.compressed_size()).ok_or_else(impossible)?;
    Ok((range(start, data)?, range(data, stop)?))
}

fn range(start: i64, stop: i64) -> Result<Range<u64>, FileError> {
    let ends = u64::try_from(start).ok().zip(u64::try_from(stop).ok());
    ends.filter(|(start, stop)| start <= stop).map(|(start, stop)| start..stop).ok_or_else(impossible)
}

fn impossible() -> FileError {
    FileError::Damaged(ParquetError::General("the footer names impossible pages".into()))
}

fn text_range(column: &ColumnChunkMetaData) -> Option<(&[u8], &[u8])> {
    match column.statistics()? {
        Statistics::ByteArray(range) => Some((range.min_bytes_opt()?, range.max_bytes_opt()?)),
        _ => None,
    }
}
