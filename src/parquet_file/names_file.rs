//! The names of UIDs, for workers that do not read them from the cluster.

use std::io::Write;

use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::FileError;
use super::sink::Counted;
use super::table_reader::{next, open};
use crate::columnar::{NamesTable, each_name};
use crate::model::UidKind;

/// Names of a row group.
const GROUP_ROWS: usize = 200_000;
/// Names that become columns at once.
const BATCH_ROWS: usize = 20_000;

/// Writes a file of names.
pub struct NamesWriter<W: Write + Send> {
    file: ArrowWriter<Counted<W>>,
    rows: NamesTable,
}

impl<W: Write + Send> NamesWriter<W> {
    /// Starts a file.
    ///
    /// # Errors
    /// [`FileError`] when the sink fails.
    pub fn new(sink: W) -> Result<Self, FileError> {
        let mut rows = NamesTable::default();
        // Every name is another one: a dictionary would only be filled and thrown away.
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(Default::default()))
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let file = ArrowWriter::try_new_with_options(Counted::new(sink), rows.take()?.schema(), options)
            .map_err(FileError::writing)?;
        Ok(Self { file, rows })
    }

    /// Adds a name.
    ///
    /// # Errors
    /// [`FileError`] when the sink fails.
    pub fn push(&mut self, kind: UidKind, uid: &[u8], name: &str) -> Result<(), FileError> {
        self.rows.push(kind, uid, name);
        if self.rows.len() >= BATCH_ROWS { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), FileError> {
        self.file.write(&self.rows.take()?).map_err(FileError::writing)
    }

    /// Writes the footer and gives the sink back.
    ///
    /// # Errors
    /// [`FileError`] when the sink fails.
    pub fn finish(mut self) -> Result<W, FileError> {
        self.write()?;
        Ok(self.file.into_inner().map_err(FileError::writing)?.inner)
    }
}

/// Reads a file of names.
///
/// # Errors
/// [`FileError`] when the file is damaged or another one.
pub fn read_names(file: Bytes, each: &mut dyn FnMut(UidKind, &[u8], &str)) -> Result<(), FileError> {
    let mut batches = open(file)?;
    while next(&mut batches, |batch| each_name(batch, each))?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        let mut writer = NamesWriter::new(Vec::new()).unwrap();
        let wanted: Vec<(UidKind, Vec<u8>, String)> = (0..50_000_u32)
            .map(|n| (UidKind::ALL[n as usize % 3], n.to_be_bytes()[(n as usize % 3)..].to_vec(), format!("né{n}")))
            .collect();
        wanted.iter().try_for_each(|(kind, uid, name)| writer.push(*kind, uid, name)).unwrap();
        let file = Bytes::from(writer.finish().unwrap());
        let mut found = Vec::new();
        read_names(file.clone(), &mut |kind, uid, name| found.push((kind, uid.to_vec(), name.to_owned()))).unwrap();
        assert!(found == wanted);
        assert!(read_names(file.slice(..file.len() / 2), &mut |_, _, _| ()).is_err());
        let empty = NamesWriter::new(Vec::new()).unwrap().finish().unwrap();
        read_names(empty.into(), &mut |_, _, _| panic!("there is none")).unwrap();
    }
}
