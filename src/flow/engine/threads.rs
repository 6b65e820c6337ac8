//! The one bridge between blocking threads, the CPU pool and the asynchronous store.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::store::{Store, StoreError, StoredFile};

/// Chunks that wait for the store before the encoder has to.
const CHUNKS_IN_FLIGHT: usize = 2;
/// Somebody who pressed ctrl-C waits for this.
const ABORT_LIMIT: Duration = Duration::from_secs(5);

/// The CPU pool and the runtime of the store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Threads {
    pool: Arc<rayon::ThreadPool>,
    runtime: Arc<Runtime>,
}

impl Threads {
    /// `cpu` threads that decode and encode (0: one per core) and two that talk to the store.
    ///
    /// # Errors
    /// The system refuses more threads.
    pub fn new(cpu: usize) -> io::Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(cpu)
            .thread_name(|n| format!("cpu-{n}"))
            // Without a handler a panic ends the process on the spot; with it the shard fails, and with it the backup.
            .panic_handler(|_| tracing::error!("a CPU thread panicked"))
            .build()
            .map_err(io::Error::other)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("store").enable_all().build()?;
        Ok(Self { pool: Arc::new(pool), runtime: Arc::new(runtime) })
    }

    /// Only what a command needs that reads a few small files.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_store() -> io::Result<Self> {
        Self::new(1)
    }

    /// Runs a future of the store and waits for it. Only from plain threads and CPU threads.
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Starts a future of the store beside everything else.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.runtime.spawn(future)
    }

    /// Starts work in the CPU pool; its result comes through the [`Pending`].
    pub fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Pending<T> {
        let (tell, told) = sync_channel(1);
        self.pool.spawn(move || {
            // The receiver is gone when the shard was given up; then nobody wants the result.
            let _ = tell.send(work());
        });
        Pending(told)
    }

    /// Starts writing a file; chunks are handed over as they come.
    pub fn upload(&self, store: &Store, path: String) -> Upload {
        let (chunks, incoming) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let task = self.runtime.spawn(write_file(store.clone(), path.clone(), incoming));
        Upload { chunks: Some(chunks), task: Some(task), path, runtime: Arc::clone(&self.runtime) }
    }
}

/// A result that is being computed.
#[derive(Debug)]
pub struct Pending<T>(Receiver<T>);

impl<T> Pending<T> {
    /// Waits for the result; `None` when the computation panicked.
    pub fn wait(self) -> Option<T> {
        self.0.recv().ok()
    }
}

enum Chunk {
    Bytes(Bytes),
    Complete,
}

/// A file on its way to the store. Dropping it without [`finish`](Self::finish) aborts the file.
#[derive(Debug)]
pub struct Upload {
    chunks: Option<mpsc::Sender<Chunk>>,
    /// `None` once it was waited for.
    task: Option<JoinHandle<Result<Option<StoredFile>, StoreError>>>,
    path: String,
    runtime: Arc<Runtime>,
}

impl Upload {
    /// Hands over a chunk, waiting while the store is behind. An error of the store shows in [`finish`](Self::finish).
    pub fn write(&mut self, bytes: Vec<u8>) {
        if let Some(chunks) = &self.chunks
            && !bytes.is_empty()
            && chunks.blocking_send(Chunk::Bytes(bytes.into())).is_err()
        {
            // The task ended early with an error; it is reported once, by finish.
            self.chunks = None;
        }
    }

    /// Completes the file.
    ///
    /// # Errors
    /// What the store said to any chunk.
    pub fn finish(mut self) -> Result<StoredFile, StoreError> {
        if let Some(chunks) = self.chunks.take() {
            let _ = chunks.blocking_send(Chunk::Complete);
        }
        let gone = |what: &str| StoreError::given_up(&self.path, what);
        let Some(task) = self.task.take() else { return Err(gone("it was finished before")) };
        let stored = self.runtime.block_on(task).map_err(|error| gone(&error.to_string()))??;
        stored.ok_or_else(|| gone("it was not completed"))
    }
}

impl Drop for Upload {
    /// Waits for the abort, because the end of the runtime, which may be next, would cut it off and leave parts behind.
    fn drop(&mut self) {
        drop(self.chunks.take());
        if let Some(task) = self.task.take() {
            // Whatever it says, there is no file.
            let _ = self.runtime.block_on(async { tokio::time::timeout(ABORT_LIMIT, task).await });
        }
    }
}

async fn write_file(
    store: Store,
    path: String,
    mut incoming: mpsc::Receiver<Chunk>,
) -> Result<Option<StoredFile>, StoreError> {
    let mut file = store.create_file(&path)?;
    while let Some(chunk) = incoming.recv().await {
        match chunk {
            Chunk::Bytes(bytes) => {
                if let Err(error) = file.write(bytes).await {
                    // The first error is the one to report; what the abort says adds nothing.
                    let _ = file.abort().await;
                    return Err(error);
                }
            }
            Chunk::Complete => return file.finish().await.map(Some),
        }
    }
    file.abort().await?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scan thread that waits for the pool is told, and the pool goes on.
    #[test]
    fn a_panic_in_the_pool_ends_the_wait_for_its_result() {
        let threads = Threads::new(1).unwrap();
        let pending: Pending<u8> = threads.compute(|| panic!("a panic on purpose"));
        assert_eq!(pending.wait(), None);
        assert_eq!(threads.compute(|| 7).wait(), Some(7));
    }
}
