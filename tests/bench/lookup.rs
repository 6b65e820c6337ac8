//! What it costs to find one metric or one series in a backup: catalogue first, then the statistics in the footers, then
//! only the pages that can hold it, with the reader of the `parquet` library, which counts what it asks for.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use tsdb_ark::parquet_file::read_files;

/// What of a points file is looked for, as the columns hold it.
pub struct Wanted<'a> {
    /// Name of the metric.
    pub metric: &'a str,
    /// TSUID in hex; `None`: all series of the metric.
    pub tsuid: Option<&'a str>,
}

/// Points found, bytes asked for, and bytes of all points files.
pub fn look_up(backup: &Path, wanted: &Wanted<'_>) -> (u64, u64, u64) {
    let repository = backup.ancestors().nth(2).expect("a backup lies in a repository");
    let catalogue = std::fs::read_dir(backup.join("catalogue/files")).expect("a backup has a catalogue of files");
    let catalogue = catalogue.map(|entry| entry.expect("the folder is readable").path());
    let catalogue = catalogue.filter(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    let catalogue: Vec<Bytes> = catalogue.map(|path| std::fs::read(path).expect("a catalogue").into()).collect();
    let touched = Arc::new(AtomicU64::new(catalogue.iter().map(|bytes| bytes.len() as u64).sum()));
    let (mut points, mut stored) = (0, 0);
    let files = catalogue.into_iter().flat_map(|bytes| read_files(bytes).expect("a catalogue of files"));
    for file in files {
        if file.kind.name() != "points" {
            continue;
        }
        stored += file.size;
        let ranges = &file.ranges;
        let outside = ranges.first_metric.as_deref().is_none_or(|first| wanted.metric < first)
            || ranges.last_metric.as_deref().is_none_or(|last| wanted.metric > last);
        if !outside {
            let source = Counting { file: repository.join(&file.path), touched: Arc::clone(&touched) };
            points += points_of(source, wanted).expect("a points file");
        }
    }
    (points, touched.load(Ordering::Relaxed), stored)
}

fn points_of(source: Counting, wanted: &Wanted<'_>) -> Result<u64> {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = ArrowReaderMetadata::load(&source, options)?;
    let file = Arc::clone(metadata.metadata());
    let schema = file.file_metadata().schema_descr();
    let place = |name: &str| schema.columns().iter().position(|column| column.name() == name).expect("a column");
    let (metric, tsuid) = (place("metric"), place("tsuid"));
    let (mut groups, mut selection) = (Vec::new(), Vec::new());
    for (number, group) in file.row_groups().iter().enumerate() {
        let may = |place, value: &str| may_hold(group.column(place), value);
        if may(metric, wanted.metric) && wanted.tsuid.is_none_or(|value| may(tsuid, value)) {
            groups.push(number);
            let (place, value) = wanted.tsuid.map_or((metric, wanted.metric), |value| (tsuid, value));
            selection.extend(pages(&file, number, place, value));
        }
    }
    let columns = ["metric", "tsuid", "timestamp", "value_int", "value_float"].map(place);
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(source, metadata)
        .with_row_groups(groups)
        .with_row_selection(RowSelection::from(selection))
        .with_projection(ProjectionMask::leaves(schema, columns))
        .build()?;
    let mut found = 0;
    for batch in reader {
        let batch = batch?;
        let text = |name: &str, at: usize| {
            let column = batch.column_by_name(name).expect("a column of the projection");
            let column = column.as_any().downcast_ref::<arrow_array::StringArray>().expect("a text");
            column.value(at).to_owned()
        };
        let fits = |at: &usize| {
            text("metric", *at) == wanted.metric && wanted.tsuid.is_none_or(|tsuid| text("tsuid", *at) == tsuid)
        };
        found += (0..batch.num_rows()).filter(fits).count() as u64;
    }
    Ok(found)
}

fn may_hold(chunk: &ColumnChunkMetaData, value: &str) -> bool {
    let Some(Statistics::ByteArray(range)) = chunk.statistics() else { return true };
    let value = value.as_bytes();
    range.min_opt().is_none_or(|min| min.data() <= value) && range.max_opt().is_none_or(|max| max.data() >= value)
}

/// The rows of the pages that can hold a value, and those between them to skip.
fn pages(file: &ParquetMetaData, group: usize, place: usize, value: &str) -> Vec<RowSelector> {
    let rows = file.row_group(group).num_rows() as usize;
    let pages = file.page_index().expect("asked for");
    let index = pages.column_index(group, place);
    let starts: Vec<usize> = pages
        .offset_index(group, place)
        .expect("every column has one")
        .page_locations()
        .iter()
        .map(|page| page.first_row_index as usize)
        .collect();
    let mut selectors = Vec::new();
    for (page, start) in starts.iter().enumerate() {
        let end = starts.get(page + 1).copied().unwrap_or(rows);
        let holds = match index {
            Some(ColumnIndexMetaData::BYTE_ARRAY(index)) => {
                index.min_value(page).is_some_and(|min| min <= value.as_bytes())
                    && index.max_value(page).is_some_and(|max| max >= value.as_bytes())
            }
            _ => true,
        };
        selectors.push(if holds { RowSelector::select(end - start) } else { RowSelector::skip(end - start) });
    }
    selectors
}

/// A file that counts the bytes which are read of it.
struct Counting {
    file: std::path::PathBuf,
    touched: Arc<AtomicU64>,
}

impl Length for Counting {
    fn len(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |file| file.len())
    }
}

impl ChunkReader for Counting {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        // The header of a page is read from here; a kilobyte holds it.
        let length = (self.len() - start).min(1024) as usize;
        self.get_bytes(start, length).map(Cursor::new)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let mut file = File::open(&self.file)?;
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        self.touched.fetch_add(length as u64, Ordering::Relaxed);
        Ok(bytes.into())
    }
}
