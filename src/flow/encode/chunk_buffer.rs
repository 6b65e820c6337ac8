//! The sink of a Parquet writer that keeps it to itself.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes wait here until they are handed to the store. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct ChunkBuffer(Arc<Mutex<Vec<u8>>>);

impl ChunkBuffer {
    /// Takes what was written since the last call.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for ChunkBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
