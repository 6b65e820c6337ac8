//! A file written piece by piece.
//!
//! Pieces are gathered to parts without copying. A file that ends inside its first part is stored with one create-only
//! put; a larger one is a multipart upload, whose parts travel while the next one fills.
//!
//! S3 takes 10,000 parts at most. Parts have 8 MiB, all of equal size as some servers demand, up to part 8,000 (62 GiB);
//! from there on they have 64 MiB, which makes room for 187 GiB. Parquet files are cut long before that.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, PutMultipartOptions, PutPayload};
use tokio::task::JoinSet;

use super::Store;
use super::error::{Operation, StoreError};
use super::put::Name;

const MIB: usize = 1024 * 1024;
const PART: usize = 8 * MIB;
const LARGE_PART: usize = 64 * MIB;
/// Parts of the first size; behind them the larger ones begin.
const EVEN_PARTS: usize = 8_000;
/// Parts on their way at once: bounds the memory of one sink to four parts, three of them travelling.
const IN_FLIGHT: usize = 3;

/// A finished file, as the records of a backup list it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Path below the root of the store.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of the content, 64 lower-case hex digits.
    pub blake3: String,
}

/// Writes one file; [`finish`](Self::finish) makes it visible.
///
/// A sink that is dropped leaves no file. On S3 the parts sent by then stay behind, unseen, until the bucket's
/// lifecycle rule for incomplete uploads removes them; [`abort`](Self::abort) removes them at once. An upload whose
/// beginning the store never answered stays too, without parts.
#[derive(Debug)]
pub struct FileSink {
    store: Store,
    path: String,
    at: Path,
    hasher: blake3::Hasher,
    size: u64,
    pending: Vec<Bytes>,
    pending_len: usize,
    upload: Option<Upload>,
    /// Set while a part is handed over: a write that failed or was cancelled there has lost bytes.
    broken: bool,
}

/// The parts sent so far. The library's own tasks would do the same, but only with one size of parts.
#[derive(Debug)]
struct Upload {
    parts: Box<dyn MultipartUpload>,
    sent: usize,
    // Tasks, so that a part goes on travelling while the caller is busy elsewhere.
    travelling: JoinSet<object_store::Result<()>>,
}

impl FileSink {
    pub(super) fn new(store: Store, path: String, at: Path) -> Self {
        let hasher = blake3::Hasher::new();
        Self { store, path, at, hasher, size: 0, pending: Vec::new(), pending_len: 0, upload: None, broken: false }
    }

    /// Path below the root of the store.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes more bytes; waits while the store is slower than the caller.
    ///
    /// # Errors
    /// Whatever the store says, possibly about an earlier part. The sink is then good for [`abort`](Self::abort) only.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        self.hasher.update(&bytes);
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = self.part_size() - self.pending_len;
            let piece = bytes.split_to(room.min(bytes.len()));
            self.pending_len += piece.len();
            self.pending.push(piece);
            if self.pending_len == self.part_size() {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    /// Makes the file visible and durable.
    ///
    /// # Errors
    /// Whatever the store says; then there is no file, except behind a lost answer. After a failed write always
    /// [`StoreError::Other`].
    pub async fn finish(mut self) -> Result<StoredFile, StoreError> {
        if self.broken {
            self.abort_upload().await.ok();
            return Err(StoreError::unfinished(&self.store.inner.place, &self.path));
        }
        if self.upload.is_none() {
            self.finish_small().await?;
        } else if let Err(error) = self.finish_large().await {
            self.abort_upload().await.ok();
            return Err(error);
        }
        let blake3 = self.hasher.finalize().to_hex().to_string();
        Ok(StoredFile { path: self.path, size: self.size, blake3 })
    }

    /// Gives the file up and removes what was sent.
    ///
    /// # Errors
    /// Whatever the store says; the file is not visible all the same.
    pub async fn abort(mut self) -> Result<(), StoreError> {
        self.abort_upload().await
    }

    fn part_size(&self) -> usize {
        let sent = self.upload.as_ref().map_or(0, |upload| upload.sent);
        if sent < EVEN_PARTS { PART } else { LARGE_PART }
    }

    fn take_pending(&mut self) -> PutPayload {
        self.pending_len = 0;
        std::mem::take(&mut self.pending).into_iter().collect()
    }

    async fn send_part(&mut self) -> Result<(), StoreError> {
        self.broken = true;
        let payload = self.take_pending();
        let mut upload = match self.upload.take() {
            Some(upload) => upload,
            None => {
                let inner = &self.store.inner;
                let options = PutMultipartOptions { attributes: inner.attributes.clone(), ..Default::default() };
                let begin = || inner.objects.put_multipart_opts(&self.at, options.clone());
                let parts = self.store.until_answered(Operation::Create, &self.path, begin).await?;
                Upload { parts, sent: 0, travelling: JoinSet::new() }
            }
        };
        let upload = self.upload.insert({
            upload.travelling.spawn(upload.parts.put_part(payload));
            upload.sent += 1;
            upload
        });
        let arrived = upload.arrive(IN_FLIGHT).await;
        arrived.map_err(|e| self.failed(e))?;
        self.broken = false;
        Ok(())
    }

    async fn finish_small(&mut self) -> Result<(), StoreError> {
        let payload = self.take_pending();
        let inner = &self.store.inner;
        match self.store.settle(&self.path, payload, inner.attributes.clone(), Name::Own).await? {
            None => Ok(()),
            Some(_) => Err(StoreError::AlreadyExists { place: inner.place.clone(), path: self.path.clone() }),
        }
    }

    async fn finish_large(&mut self) -> Result<(), StoreError> {
        if self.pending_len > 0 {
            self.send_part().await?;
        }
        let Some(upload) = self.upload.as_mut() else { return Ok(()) };
        let done = async {
            upload.arrive(0).await?;
            upload.parts.complete().await
        };
        let Err(error) = done.await else { return Ok(()) };
        let error = self.failed(error);
        // Of a completion that arrived and whose answer was lost the repetition says that there is no such upload. The
        // path is this sink's alone, so a file of this size there is this one.
        match self.store.size(&self.path).await {
            Ok(Some(size)) if size == self.size => Ok(()),
            _ => Err(error),
        }
    }

    async fn abort_upload(&mut self) -> Result<(), StoreError> {
        self.pending.clear();
        let Some(mut upload) = self.upload.take() else { return Ok(()) };
        upload.travelling.shutdown().await;
        upload.parts.abort().await.map_err(|e| self.failed(e))
    }

    fn failed(&self, error: object_store::Error) -> StoreError {
        self.store.failed(error, Operation::Create, &self.path)
    }
}

impl Upload {
    /// Waits until at most `limit` parts travel.
    async fn arrive(&mut self, limit: usize) -> object_store::Result<()> {
        while self.travelling.len() > limit {
            let Some(part) = self.travelling.join_next().await else { break };
            part.map_err(|source| object_store::Error::JoinError { source })??;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_grow_behind_the_even_ones() {
        let mut sink = Store::in_memory().create_file("x").unwrap();
        assert_eq!(sink.part_size(), PART);
        sink.write(Bytes::from(vec![7; PART])).await.unwrap();
        sink.upload.as_mut().unwrap().sent = EVEN_PARTS;
        assert_eq!(sink.part_size(), LARGE_PART);
        const { assert!(EVEN_PARTS * PART + (10_000 - EVEN_PARTS) * LARGE_PART > 180 * 1024 * MIB) };
    }

    #[tokio::test]
    async fn a_broken_sink_never_becomes_a_file() {
        let store = Store::in_memory();
        let mut sink = store.create_file("x").unwrap();
        sink.write(Bytes::from(vec![7; PART + 1])).await.unwrap();
        sink.broken = true;
        assert!(sink.finish().await.is_err());
        assert_eq!(store.size("x").await.unwrap(), None);
    }

    #[tokio::test]
    async fn at_most_three_parts_travel() {
        let mut sink = Store::in_memory().create_file("x").unwrap();
        sink.write(Bytes::from(vec![7; 6 * PART + 1])).await.unwrap();
        assert!(sink.upload.as_ref().unwrap().travelling.len() <= IN_FLIGHT);
        assert_eq!((sink.pending_len, sink.upload.as_ref().unwrap().sent), (1, 6));
    }
}
