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

mod context;
mod shard;

pub use context::ExportContext;
pub use shard::{Exported, ShardOutcome, ShardTask, Stages, export_shard};
