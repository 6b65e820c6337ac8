//! The names of UIDs beside the plan: read from the cluster once, by whoever plans, for all workers.

use crate::flow::FlowError;
use crate::flow::encode::ChunkBuffer;
use crate::flow::engine::threads::Threads;
use crate::flow::source::names::Names;
use crate::flow::stored::backup_files::read_or_problem;
use crate::manifest::{BackupWriter, HashedFile};
use crate::model::{UidKind, UidNames};
use crate::parquet_file::{NamesWriter, read_names};
use crate::store::Store;

/// Names between two chunks for the store.
const CHUNK: usize = 20_000;

/// Stores all names that are known.
///
/// # Errors
/// The store's.
pub fn write(threads: &Threads, writer: &BackupWriter, names: &Names) -> Result<HashedFile, FlowError> {
    let sink = ChunkBuffer::default();
    let mut file = NamesWriter::new(sink.clone())?;
    let mut upload = threads.upload(writer.store(), writer.paths().names());
    let mut count = 0;
    names.each(|kind: UidKind, uid: &[u8], name: &str| {
        count += 1;
        if count % CHUNK == 0 {
            upload.write(sink.take());
        }
        file.push(kind, uid, name).map_err(FlowError::from)
    })?;
    file.finish()?;
    upload.write(sink.take());
    Ok(upload.finish()?.into())
}

/// Reads the names back; what is wrong with the file where it is not as it was written.
///
/// # Errors
/// The store's.
pub fn read(threads: &Threads, store: &Store, file: &HashedFile) -> Result<Result<UidNames, String>, FlowError> {
    let bytes = match threads.wait(read_or_problem(store, &file.path, file.size, &file.blake3))? {
        Ok(bytes) => bytes,
        Err(problem) => return Ok(Err(format!("{} {problem}", file.path))),
    };
    let mut names = UidNames::new();
    read_names(bytes, &mut |kind, uid, name| names.insert(kind, uid, name))?;
    Ok(Ok(names))
}
