//! A file of the repository that is growing.

use bytes::Bytes;

use crate::flow::FlowError;
use crate::flow::engine::threads::Upload;
use crate::model::{FileKind, FileRow, Tally};
use crate::parquet_file::FileSummary;

use super::chunk_buffer::ChunkBuffer;
use super::context::EncodeContext;
use super::read_back::Expected;

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
    attempt: String,
    bytes: u64,
    tally: Tally,
    rows: Option<(Vec<u8>, Vec<u8>)>,
    /// What was sent, for the files that are read back.
    copy: Option<Vec<u8>>,
}

impl OpenFile {
    /// Starts the upload.
    pub fn new(path: String, kind: FileKind, attempt: &str, sink: ChunkBuffer, context: &EncodeContext) -> Self {
        let upload = context.threads.upload(&context.store, path);
        let copy = context.read_back.chooses(&context.table, kind).then(Vec::new);
        let attempt = attempt.to_string();
        Self { upload, sink, kind, attempt, bytes: 0, tally: Tally::default(), rows: None, copy }
    }

    /// Hands what the writer has put out to the store.
    pub fn send(&mut self) {
        let bytes = self.sink.take();
        self.bytes += bytes.len() as u64;
        if let Some(copy) = &mut self.copy {
            copy.extend_from_slice(&bytes);
        }
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

    /// Waits until the store has everything, and reads it back where that file was chosen.
    ///
    /// # Errors
    /// The store's; [`FlowError::Damaged`] for a file that does not read back.
    pub fn finish(mut self, summary: FileSummary, context: &EncodeContext) -> Result<FileRow, FlowError> {
        self.send();
        let copy = self.copy.take();
        let stored = self.upload.finish()?;
        if let Some(copy) = copy {
            let expected = Expected { path: &stored.path, kind: self.kind, rows: summary.rows, tally: &self.tally };
            context.read_back.check(Bytes::from(copy), &context.layouts, &expected)?;
        }
        let (first_row, last_row) = self.rows.unzip();
        Ok(FileRow {
            path: stored.path,
            table: context.table.clone(),
            attempt: self.attempt,
            kind: self.kind,
            size: stored.size,
            blake3: stored.blake3,
            footer_size: summary.footer_bytes,
            footer_blake3: summary.footer_blake3,
            rows: summary.rows,
            tally: self.tally,
            first_row,
            last_row,
            ranges: summary.ranges,
        })
    }
}
