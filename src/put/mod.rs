//! Cells back into a table: checked one by one, collected per region, written in batches.
//!
//! Delete markers travel in requests of their own. A writer keeps no order between them and the puts: HBase hides a put
//! below a marker whichever comes first, but a compaction between the two may drop a marker that stands alone, so whoever
//! writes both sends the puts first. A batch that fails is repeated as a whole by the client, which is exact because every
//! cell carries its timestamp.

mod check;
mod refused;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cluster::{Client, ClusterError, Durability, encoded_cell_len, encoded_row_len};
use crate::model::{Cell, CellBlock, CellHasher, Region, Retry, Tally, kind};

pub use check::Refusal;
pub use refused::Refused;

/// Encoded bytes from which a cell may be what a cluster refuses a batch for.
const LARGE: usize = 16 << 10;

/// How cells are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutOptions {
    /// When the write-ahead log must have a put.
    pub durability: Durability,
    /// Encoded bytes of a batch to aim at; stays below the 2 MB that a framed gateway accepts by default.
    pub batch_bytes: usize,
    /// Rows of a batch at most; region servers warn above 5000.
    pub batch_rows: usize,
    /// Encoded bytes that may wait for their batches to fill.
    pub pending_bytes: usize,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self { durability: Durability::default(), batch_bytes: 1_500_000, batch_rows: 5_000, pending_bytes: 12_000_000 }
    }
}

/// Why a cell was not written.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// A cell that HBase would refuse, or store in a way that damages the table.
    #[error("table {table}: cell {row} {family}:{qualifier} at {timestamp} cannot be written: {reason}")]
    Cell {
        /// Table.
        table: String,
        /// Row key in hex.
        row: String,
        /// Family in hex.
        family: String,
        /// Qualifier in hex.
        qualifier: String,
        /// Timestamp in milliseconds.
        timestamp: i64,
        /// What is wrong.
        reason: Refusal,
    },
    /// The gateway or HBase.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl PutError {
    /// True when the stop flag ended the put.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Cluster(error) if error.is_interrupted())
    }

    /// Whether another try may succeed.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Cell { .. } => Retry::Permanent,
            Self::Cluster(error) => error.retry(),
        }
    }
}

/// What batches cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchStats {
    /// Encoded bytes.
    pub wire_bytes: u64,
    /// Rows.
    pub rows: u64,
    /// From the request to the answer, failed attempts included.
    pub elapsed: Duration,
}

/// Cells that wait to be sent to one region.
#[derive(Debug, Default)]
struct Batch {
    puts: CellBlock,
    markers: CellBlock,
    /// Encoded bytes of both.
    bytes: usize,
    tally: Tally,
}

/// Writes cells to one table. Cells in key order make the best batches; any order is right.
#[derive(Debug)]
pub struct CellWriter<'c> {
    client: &'c mut Client,
    table: String,
    families: Vec<Vec<u8>>,
    /// Start keys of the regions but the first, ascending.
    boundaries: Vec<Vec<u8>>,
    options: PutOptions,
    /// By number of the region.
    pending: HashMap<usize, Batch>,
    pending_bytes: usize,
    spare: Vec<Batch>,
    hasher: CellHasher,
    row: Option<Vec<u8>>,
    region: usize,
    sent: Tally,
    refused: Refused,
    cost: Option<BatchStats>,
}

impl<'c> CellWriter<'c> {
    /// A writer for a table with these families and regions. Without regions all cells share their batches.
    pub fn new(
        client: &'c mut Client,
        table: impl Into<String>,
        families: Vec<Vec<u8>>,
        regions: &[Region],
        options: PutOptions,
    ) -> Self {
        let starts = regions.iter().map(|region| region.range.start.clone()).filter(|start| !start.is_empty());
        let mut boundaries: Vec<Vec<u8>> = starts.collect();
        boundaries.sort();
        Self {
            client,
            table: table.into(),
            families,
            boundaries,
            options,
            pending: HashMap::new(),
            pending_bytes: 0,
            spare: Vec::new(),
            hasher: CellHasher::new(),
            row: None,
            region: 0,
            sent: Tally::default(),
            refused: Refused::default(),
            cost: None,
        }
    }

    /// What HBase has accepted so far.
    pub fn sent(&self) -> Tally {
        self.sent
    }

    /// Takes out the cells that were sent and that the cluster refused for their size since the last call.
    pub fn take_refused(&mut self) -> Refused {
        std::mem::take(&mut self.refused)
    }

    /// Takes a cell, and sends a batch when one is full.
    ///
    /// # Errors
    /// [`PutError::Cell`] refuses this cell and changes nothing; [`PutError::Cluster`] means that a batch could not be
    /// written, the cells of which are lost to this writer.
    pub fn write(&mut self, cell: &Cell<'_>) -> Result<(), PutError> {
        check::check(cell, &self.families).map_err(|reason| refused(&self.table, cell, reason))?;
        let new_row = self.row.as_deref() != Some(cell.row);
        if new_row {
            self.region = self.boundaries.partition_point(|start| start.as_slice() <= cell.row);
            self.hasher.row(cell.row);
            let row = self.row.get_or_insert_default();
            row.clear();
            row.extend_from_slice(cell.row);
        }
        let more = encoded_cell_len(cell.family, cell.qualifier, cell.value) + encoded_row_len(cell.row);
        let region = self.region;
        if self.is_full(region, more) {
            self.send(region)?;
        }
        let hash = self.hasher.cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value);
        let batch = self.pending.entry(region).or_insert_with(|| self.spare.pop().unwrap_or_default());
        batch.tally.rows += u64::from(new_row);
        batch.tally.add_cell(cell, hash);
        let added = batch.add(cell)?;
        self.pending_bytes += added;
        if self.pending_bytes > self.options.pending_bytes {
            self.send_largest()?;
        }
        Ok(())
    }

    /// What was sent since the last call, in zero or one batch after each [`write`](Self::write) and
    /// [`send_next`](Self::send_next), rarely two.
    pub fn take_cost(&mut self) -> Option<BatchStats> {
        self.cost.take()
    }

    /// Sends the largest batch that waits; false when none is left.
    ///
    /// # Errors
    /// [`PutError::Cluster`].
    pub fn send_next(&mut self) -> Result<bool, PutError> {
        self.send_largest()?;
        Ok(!self.pending.is_empty())
    }

    /// Sends everything that waits.
    ///
    /// # Errors
    /// [`PutError::Cluster`].
    pub fn flush(&mut self) -> Result<(), PutError> {
        let mut regions: Vec<usize> = self.pending.keys().copied().collect();
        regions.sort_unstable();
        regions.into_iter().try_for_each(|region| self.send(region))
    }

    /// Sends everything that waits and says what was sent in all.
    ///
    /// # Errors
    /// [`PutError::Cluster`].
    pub fn finish(mut self) -> Result<Tally, PutError> {
        self.flush()?;
        Ok(self.sent)
    }

    fn is_full(&self, region: usize, more: usize) -> bool {
        self.pending.get(&region).is_some_and(|batch| {
            let rows = batch.puts.row_count().max(batch.markers.row_count());
            batch.bytes + more > self.options.batch_bytes || rows >= self.options.batch_rows
        })
    }

    fn send_largest(&mut self) -> Result<(), PutError> {
        let largest = self.pending.iter().max_by_key(|(_, batch)| batch.bytes).map(|(region, _)| *region);
        largest.map_or(Ok(()), |region| self.send(region))
    }

    fn send(&mut self, region: usize) -> Result<(), PutError> {
        let Some(mut batch) = self.pending.remove(&region) else { return Ok(()) };
        self.pending_bytes = self.pending_bytes.saturating_sub(batch.bytes);
        let durability = self.options.durability;
        let begun = Instant::now();
        if !batch.puts.is_empty()
            && let Err(error) = self.client.put_multiple(&self.table, &batch.puts, durability)
        {
            let refused = self.put_apart(&batch.puts, error)?;
            batch.tally.remove(&refused.tally);
            self.refused.append(refused);
        }
        if !batch.markers.is_empty() {
            self.client.delete_multiple(&self.table, &batch.markers, durability)?;
        }
        self.sent.add(&batch.tally);
        let cost = self.cost.get_or_insert_default();
        cost.wire_bytes += batch.bytes as u64;
        cost.rows += batch.tally.rows;
        cost.elapsed += begun.elapsed();
        batch.clear();
        self.spare.push(batch);
        Ok(())
    }

    /// Writes a batch that was refused for the size of a cell: its large cells one by one, and the others together.
    /// Returns the cells that are refused by themselves.
    fn put_apart(&mut self, puts: &CellBlock, error: ClusterError) -> Result<Refused, PutError> {
        let is_large = |cell: &Cell<'_>| encoded_cell_len(cell.family, cell.qualifier, cell.value) >= LARGE;
        let mut refused = Refused::default();
        if !error.may_be_about_size() || !puts.iter().any(|cell| is_large(&cell)) {
            return Err(error.into());
        }
        let durability = self.options.durability;
        let mut rest = Batch::default();
        for cell in puts.iter().filter(|cell| !is_large(cell)) {
            rest.add(&cell)?;
        }
        if !rest.puts.is_empty() {
            self.client.put_multiple(&self.table, &rest.puts, durability)?;
        }
        for cell in puts.iter().filter(is_large) {
            let mut alone = Batch::default();
            alone.add(&cell)?;
            match self.client.put_multiple(&self.table, &alone.puts, durability) {
                Ok(()) => {}
                Err(error) if error.may_be_about_size() => {
                    let bytes = cell.row.len() + cell.family.len() + cell.qualifier.len() + cell.value.len();
                    refused.push(&cell, &self::refused(&self.table, &cell, Refusal::TooLarge(bytes)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(refused)
    }
}

impl Batch {
    /// Adds a cell; returns the bytes by which the encoded batch grew.
    fn add(&mut self, cell: &Cell<'_>) -> Result<usize, PutError> {
        let block = if cell.kind == kind::PUT { &mut self.puts } else { &mut self.markers };
        let last = block.row_count().checked_sub(1).and_then(|last| block.row(last));
        let mut more = encoded_cell_len(cell.family, cell.qualifier, cell.value);
        if last.is_none_or(|last| last.key != cell.row) {
            block.push_row(cell.row).map_err(ClusterError::from)?;
            more += encoded_row_len(cell.row);
        }
        block
            .push_cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value)
            .map_err(ClusterError::from)?;
        self.bytes += more;
        Ok(more)
    }

    fn clear(&mut self) {
        self.puts.clear();
        self.markers.clear();
        self.bytes = 0;
        self.tally = Tally::default();
    }
}

fn refused(table: &str, cell: &Cell<'_>, reason: Refusal) -> PutError {
    use crate::cluster::hex;
    PutError::Cell {
        table: table.to_owned(),
        row: hex(cell.row),
        family: hex(cell.family),
        qualifier: hex(cell.qualifier),
        timestamp: cell.timestamp,
        reason,
    }
}
