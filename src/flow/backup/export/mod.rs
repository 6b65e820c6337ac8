//! One shard from the gateway to files in the repository.
//!
//! ```text
//!  scan thread   page ─► page ─► page ─► …            blocking, one per connection
//!  CPU pool        └► decode ─► decode ─► …           one at a time per shard, in scan order
//!                        └────────► encode ─► …       sort, proof, Parquet; one at a time per shard
//!  store                               └► upload      chunks of the growing files
//! ```
//! Decoder and encoder are values that travel between the scan thread and the pool, so a shard needs no lock, and a
//! slow stage holds up the one before it instead of piling up memory.
//!
//! Batches are large (a million points, some 30 MB), and fresh memory for each of them costs a quarter of the time of a
//! backup in page faults. So their memory goes round: decoder, sort, encoder, and the next shard of the table. An
//! allocator of its own kind (mimalloc) was tried instead and took a third more CPU time (4.5 instead of 3.3 s for 50 M
//! compacted points, one run after the other).

mod attempts;
mod chunk_buffer;
mod context;
mod decode;
mod encode;
mod metrics;
mod open_file;
mod points_tally;
mod read_back;
mod shard;

pub use attempts::{Attempts, first_number};
pub use chunk_buffer::ChunkBuffer;
pub use context::ExportContext;
pub use metrics::MetricTally;
pub use read_back::ReadBack;
pub use shard::{Exported, ShardOutcome, ShardTask, export_shard};
