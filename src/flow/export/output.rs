//! Where the bytes of an export go: one stream, or files that appear when they are whole.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};

use bytes::Bytes;

use crate::columnar::Table;
use crate::flow::engine::threads::{Threads, Upload};
use crate::flow::{FlowError, Progress};
use crate::model::PlainColumns;
use crate::parquet_file::{PlainWriter, Profile};
use crate::store::Store;

/// A file of text is closed at this size.
const TEXT_BYTES: u64 = 256 << 20;
/// A Parquet file is closed at this size in memory.
const PARQUET_BYTES: usize = 64 << 20;
/// Parquet files that are filled at the same time, each with a column writer for every column.
const OPEN_FILES: usize = 300;
/// The file that says that all others are there.
pub const FINISHED: &str = "_SUCCESS";

/// Files below the root of a store.
pub struct Folder {
    threads: Threads,
    store: Store,
    progress: Progress,
    extension: &'static str,
    /// Files so far, and their bytes.
    pub files: u64,
    /// Bytes of the files so far.
    pub bytes: u64,
}

impl Folder {
    /// Makes sure that nothing is there yet.
    ///
    /// # Errors
    /// [`FlowError::Input`] when something is; the store's.
    pub fn open(
        threads: &Threads,
        store: Store,
        progress: &Progress,
        extension: &'static str,
    ) -> Result<Self, FlowError> {
        if let Some(first) = threads.wait(store.first_file())? {
            return Err(FlowError::input(format!(
                "{} is not empty (it holds {first}): an export needs a folder of its own",
                store.place()
            )));
        }
        let (threads, progress) = (threads.clone(), progress.clone());
        Ok(Self { threads, store, progress, extension, files: 0, bytes: 0 })
    }

    /// Starts the next file of points in a folder of a partition, or in none.
    fn begin(&self, partition: &str) -> Upload {
        let partition = if partition.is_empty() { String::new() } else { format!("{partition}/") };
        let path = format!("points/{partition}part-{:05}.{}", self.files, self.extension);
        self.threads.upload(&self.store, path)
    }

    fn finish(&mut self, upload: Upload) -> Result<(), FlowError> {
        let stored = upload.finish()?;
        self.files += 1;
        self.bytes += stored.size;
        self.progress.wrote(stored.size);
        Ok(())
    }

    /// Writes a small file.
    ///
    /// # Errors
    /// The store's.
    pub fn put(&mut self, path: String, content: Vec<u8>) -> Result<(), FlowError> {
        let mut upload = self.threads.upload(&self.store, path);
        upload.write(content);
        self.finish(upload)
    }

    /// Writes the file that says that all others are there.
    ///
    /// # Errors
    /// The store's.
    pub fn succeed(&self, report: String) -> Result<(), FlowError> {
        Ok(self.threads.wait(self.store.put_new(FINISHED, Bytes::from(report)))?)
    }
}

/// Text in a stream or in files.
pub enum TextOutput {
    /// A stream that somebody else reads, and its bytes so far.
    Stream(Box<dyn Write + Send>, u64),
    /// Files, and the one that is being written with its bytes.
    Files(Folder, Option<(Upload, u64)>),
}

impl TextOutput {
    /// Appends text; false when nobody reads any more. Every file begins with `head`.
    ///
    /// # Errors
    /// The stream's or the store's.
    pub fn write(&mut self, text: Vec<u8>, head: &[u8]) -> Result<bool, FlowError> {
        if text.is_empty() {
            return Ok(true);
        }
        match self {
            Self::Stream(stream, bytes) => {
                let first: &[u8] = if *bytes == 0 { head } else { &[] };
                let written = stream.write_all(first).and_then(|()| stream.write_all(&text));
                if let Err(error) = written {
                    return closed(error).map(|()| false);
                }
                *bytes += (first.len() + text.len()) as u64;
            }
            Self::Files(folder, open) => {
                let (mut upload, mut bytes) = open.take().unwrap_or_else(|| (folder.begin(""), 0));
                if bytes == 0 {
                    upload.write(head.to_vec());
                }
                bytes += text.len() as u64;
                upload.write(text);
                if bytes >= TEXT_BYTES {
                    folder.finish(upload)?;
                } else {
                    *open = Some((upload, bytes));
                }
            }
        }
        Ok(true)
    }

    /// Completes the last file; false when nobody reads the stream any more.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(&mut self) -> Result<bool, FlowError> {
        match self {
            Self::Stream(stream, _) => match stream.flush() {
                Ok(()) => Ok(true),
                Err(error) => closed(error).map(|()| false),
            },
            Self::Files(folder, open) => {
                open.take().map_or(Ok(()), |(upload, _)| folder.finish(upload))?;
                Ok(true)
            }
        }
    }
}

/// Ok when a stream failed because whoever read it has seen enough.
fn closed(error: std::io::Error) -> Result<(), FlowError> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(FlowError::System("standard output cannot be written".into(), error)),
    }
}

/// Parquet files, one at a time for each partition.
pub struct ParquetOutput {
    folder: Folder,
    columns: PlainColumns,
    profile: Profile,
    /// Bytes of memory that all of them may take.
    limit: usize,
    open: BTreeMap<String, (PlainWriter, usize)>,
    memory: usize,
}

impl ParquetOutput {
    /// Without files.
    pub fn new(folder: Folder, columns: PlainColumns, profile: Profile, limit: usize) -> Self {
        Self { folder, columns, profile, limit, open: BTreeMap::new(), memory: 0 }
    }

    /// Adds points to the file of a partition.
    ///
    /// # Errors
    /// The store's, or a fault of the encoder.
    pub fn write(&mut self, partition: String, table: &Table) -> Result<(), FlowError> {
        let (mut writer, before) = match self.open.remove(&partition) {
            Some(open) => open,
            None => (PlainWriter::new(&self.columns, self.profile)?, 0),
        };
        writer.write(table)?;
        let now = writer.memory();
        self.memory = (self.memory - before) + now;
        self.open.insert(partition.clone(), (writer, now));
        if now >= PARQUET_BYTES {
            self.close(&partition)?;
        }
        while self.memory > self.limit || self.open.len() > OPEN_FILES {
            let largest = self.open.iter().max_by_key(|(_, (_, memory))| *memory).map(|(name, _)| name.clone());
            let Some(largest) = largest else { break };
            self.close(&largest)?;
        }
        Ok(())
    }

    fn close(&mut self, partition: &str) -> Result<(), FlowError> {
        let Some((writer, memory)) = self.open.remove(partition) else { return Ok(()) };
        self.memory -= memory;
        let mut upload = self.folder.begin(partition);
        upload.write(writer.finish()?);
        self.folder.finish(upload)
    }

    /// Completes all files.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(mut self) -> Result<Folder, FlowError> {
        while let Some(partition) = self.open.keys().next().cloned() {
            self.close(&partition)?;
        }
        Ok(self.folder)
    }
}
