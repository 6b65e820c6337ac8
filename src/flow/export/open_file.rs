//! A file of the repository that is growing.

use crate::flow::FlowError;
use crate::flow::threads::Upload;
use crate::manifest::{FileRecord, HexBytes};
use crate::model::{FileKind, Tally};
use crate::parquet_file::FileSummary;

use super::chunk_buffer::ChunkBuffer;
use super::shard::ExportContext;

/// A Parquet writer with the file that its bytes go to.
pub struct Growing<W> {
    /// The writer; its sink is drained after every batch.
    pub writer: W,
    /// The file.
    pub file: OpenFile,
}

/// A file on its way to the store, with what it holds so far.
pub struct OpenFile {
    upload: Upload,
    sink: ChunkBuffer,
    kind: FileKind,
    bytes: u64,
    tally: Tally,
    rows: Option<(Vec<u8>, Vec<u8>)>,
}

impl OpenFile {
    /// Starts the upload.
    pub fn new(path: String, kind: FileKind, sink: ChunkBuffer, context: &ExportContext) -> Self {
        let upload = context.threads.upload(&context.store, path);
        Self { upload, sink, kind, bytes: 0, tally: Tally::default(), rows: None }
    }

    /// Hands what the writer has put out to the store.
    pub fn send(&mut self) {
        let bytes = self.sink.take();
        self.bytes += bytes.len() as u64;
        self.upload.write(bytes);
    }

    /// Counts the cells that the file restores.
    pub fn count(&mut self, tally: &Tally) {
        self.tally.add(tally);
    }

    /// Widens the range of row keys in the file.
    pub fn covers(&mut self, row: &[u8]) {
        match &mut self.rows {
            None => self.rows = Some((row.to_vec(), row.to_vec())),
            Some((first, last)) => {
                if row < first.as_slice() {
                    *first = row.to_vec();
                }
                if row > last.as_slice() {
                    *last = row.to_vec();
                }
            }
        }
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Waits until the store has everything.
    ///
    /// # Errors
    /// The store's.
    pub fn finish(mut self, summary: FileSummary) -> Result<FileRecord, FlowError> {
        self.send();
        let stored = self.upload.finish()?;
        let (first, last) = self.rows.map_or((None, None), |(first, last)| (Some(first), Some(last)));
        Ok(FileRecord {
            path: stored.path,
            kind: self.kind,
            size: stored.size,
            blake3: stored.blake3,
            rows: summary.rows,
            tally: self.tally,
            first_row: first.map(HexBytes::from),
            last_row: last.map(HexBytes::from),
            first_ms: summary.times.map(|(first, _)| first),
            last_ms: summary.times.map(|(_, last)| last),
        })
    }
}
