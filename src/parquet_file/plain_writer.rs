//! Points for other programs into files: few columns, and only what their readers know.

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::page_chunk::zstd_level;
use super::{FileError, ROWS_PER_PAGE};
use crate::columnar::{Table, annotation_table, plain_table};
use crate::model::{PlainAnnotation, PlainColumns, PlainRun, TagColumns};

/// Rows of a row group.
const GROUP_ROWS: usize = 1 << 20;

/// What readers must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// zstd, and differences for times and integers.
    Compact,
    /// snappy, plain values and dictionaries, version 1 of data pages: what old readers know.
    Plain,
}

/// Writes one file into memory; what it holds is never larger than the caller lets it become.
pub struct PlainWriter {
    file: ArrowWriter<Vec<u8>>,
    /// Columns of the file, those inside a map counted singly.
    leaves: usize,
    rows: u64,
}

impl PlainWriter {
    /// Starts a file of these columns.
    ///
    /// # Errors
    /// [`FileError::Encode`], a fault of the program.
    pub fn new(columns: &PlainColumns, profile: Profile) -> Result<Self, FileError> {
        let table = plain_table(&[], columns)?;
        let leaves = table.num_columns() + usize::from(columns.tags == TagColumns::Map);
        Ok(Self { file: start(&table, profile)?, leaves, rows: 0 })
    }

    /// Adds a table that [`plain_table`] made with the same columns.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn write(&mut self, table: &Table) -> Result<(), FileError> {
        self.file.write(table).map_err(FileError::writing)?;
        self.rows += table.num_rows() as u64;
        Ok(())
    }

    /// Adds points.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn write_runs(&mut self, runs: &[PlainRun], columns: &PlainColumns) -> Result<(), FileError> {
        self.write(&plain_table(runs, columns)?)
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of memory in use: finished row groups and the one that is being filled.
    pub fn memory(&self) -> usize {
        self.file.inner().len() + self.file.memory_size()
    }

    /// Writes the footer and gives the file.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn finish(self) -> Result<Vec<u8>, FileError> {
        name_old_order(self.file.into_inner().map_err(FileError::writing)?, self.leaves)
    }
}

/// The footer names an order of DOUBLE columns that is newer than many readers, which refuse the file because of it (Polars
/// before 2, for one). The column has no statistics to which an order could matter, so the footer may as well name the
/// old one: of the union `ColumnOrder` member 1 instead of 2, in the last field of the footer, a list of one for each
/// column.
fn name_old_order(mut file: Vec<u8>, leaves: usize) -> Result<Vec<u8>, FileError> {
    const OLD: u8 = 0x1c;
    const NEW: u8 = 0x2c;
    // Behind the list: the end of the footer, its length and the magic number.
    let end = file.len().saturating_sub(1 + 4 + 4);
    let orders = end.checked_sub(3 * leaves).and_then(|start| file.get_mut(start..end));
    let orders = orders.map(<[u8]>::as_chunks_mut).map(|(orders, _): (&mut [[u8; 3]], _)| orders);
    let fit = |orders: &&mut [[u8; 3]]| orders.iter().all(|order| matches!(order, [OLD | NEW, 0, 0]));
    let strange = || FileError::Encode(ParquetError::General("the footer does not end as expected".to_owned()));
    orders.filter(fit).ok_or_else(strange)?.iter_mut().for_each(|[order, ..]| *order = OLD);
    Ok(file)
}

fn start(table: &Table, profile: Profile) -> Result<ArrowWriter<Vec<u8>>, FileError> {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_data_page_row_count_limit(ROWS_PER_PAGE)
        .set_column_statistics_enabled(ColumnPath::from("value"), EnabledStatistics::None);
    let properties = match profile {
        Profile::Plain => properties
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true),
        Profile::Compact => properties
            .set_compression(zstd_level()?)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_column_dictionary_enabled(ColumnPath::from("timestamp"), false)
            .set_column_encoding(ColumnPath::from("timestamp"), Encoding::DELTA_BINARY_PACKED)
            .set_column_encoding(ColumnPath::from("value_int"), Encoding::DELTA_BINARY_PACKED),
    };
    // The Parquet types say it all.
    let options = ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(Vec::new(), table.schema(), options).map_err(FileError::writing)
}

/// A file of annotations.
///
/// # Errors
/// As [`PlainWriter::new`].
pub fn annotations_file(rows: &[PlainAnnotation], profile: Profile) -> Result<Vec<u8>, FileError> {
    let table = annotation_table(rows)?;
    let mut file = start(&table, profile)?;
    file.write(&table).map_err(FileError::writing)?;
    file.into_inner().map_err(FileError::writing)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use parquet::basic::{ColumnOrder, Encoding, Type};
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;
    use crate::model::{Number, PlainPoint, SeriesLabel};

    fn runs() -> Vec<PlainRun> {
        let label = |metric: Option<&str>, tags: &[(&str, &str)]| SeriesLabel {
            metric: metric.map(str::to_owned),
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..SeriesLabel::default()
        };
        let point = |n: i64, value| PlainPoint {
            timestamp: 1_700_000_000_000 + n,
            value,
            milliseconds: false,
            superseded: n % 2 == 1,
            written: n,
        };
        let points = (0..30_000).map(|n| point(n, Number::Int((1 << 53) + n))).collect();
        let floats = vec![point(1, Number::Float(f64::NAN)), point(2, Number::Float(0.1))];
        vec![
            PlainRun { label: Arc::new(label(Some("m"), &[("dc", "x"), ("host", "a")])), points },
            PlainRun { label: Arc::new(label(None, &[("host", "b")])), points: floats },
        ]
    }

    #[test]
    fn integers_stay_exact_and_the_plain_profile_has_only_old_encodings() {
        let keys = TagColumns::of_keys(["host".to_owned(), "dc".to_owned()]);
        for (profile, tags) in [Profile::Plain, Profile::Compact].into_iter().zip([keys, TagColumns::Map]) {
            let columns = PlainColumns { metric: true, tags, versions: true };
            let mut writer = PlainWriter::new(&columns, profile).unwrap();
            writer.write_runs(&runs(), &columns).unwrap();
            assert_eq!(writer.rows(), 30_002);
            let file = SerializedFileReader::new(Bytes::from(writer.finish().unwrap())).unwrap();
            let rows: Vec<String> = file.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
            assert!(rows[1].contains("value_int: 9007199254740993,"), "{}", rows[1]);
            assert!(
                rows[30_000].contains("metric: null") && rows[30_000].contains("value_int: null"),
                "{}",
                rows[30_000]
            );
            assert!(rows[30_001].contains("value: 0.1"), "{}", rows[30_001]);
            let orders = file.metadata().file_metadata().column_orders().unwrap();
            let is_old = |order: &ColumnOrder| matches!(order, ColumnOrder::TYPE_DEFINED_ORDER(_));
            assert!(orders.iter().all(is_old) && orders.len() > 6, "{orders:?}");
            let columns = file.metadata().row_groups()[0].columns();
            let value = columns.iter().find(|column| column.column_path().string() == "value").unwrap();
            assert!(value.statistics().is_none_or(|statistics| statistics.min_bytes_opt().is_none()), "{value:?}");
            let time = columns.iter().find(|column| column.column_path().string() == "timestamp").unwrap();
            assert_eq!(time.column_type(), Type::INT64);
            if profile == Profile::Plain {
                for column in columns {
                    assert_eq!(column.compression(), Compression::SNAPPY);
                    let old = [Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY];
                    assert!(column.encodings().all(|encoding| old.contains(&encoding)), "{column:?}");
                }
            }
        }
    }
}
