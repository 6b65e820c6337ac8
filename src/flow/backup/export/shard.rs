//! The life of one shard: scan, decode, encode, and what is left for others.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::cluster::Client;
use crate::codec::Decoder;
use crate::flow::FlowError;
use crate::flow::encode::{Encoded, MetricMap, ShardDecoder, ShardEncoder};
use crate::flow::engine::threads::Pending;
use crate::flow::source::gaps::{AtDamage, SECOND_CHANCES, behind, could_be_skipped, gap_at};
use crate::flow::source::window_uids::UidSet;
use crate::model::{CellBlock, FileRow, Gap, KeyRange, RawReason, Tally};
use crate::scan::ShardScan;
use crate::shard::{host_of, last_row, split_rest};

use super::context::ExportContext;

/// Wire bytes after which a shard ends, so that an interruption loses minutes at most.
const SHARD_BYTES: u64 = 1 << 30;
/// The same for slow clusters and small rates.
const SHARD_TIME: Duration = Duration::from_secs(180);
/// UIDs after which a shard ends that notes them: its record holds them.
const SHARD_UIDS: usize = 500_000;
/// A page that takes this many times the bytes that were aimed at is no longer read beside another one.
const OVERSIZE: usize = 4;
/// Wire bytes that a shard has read at least before it shares its rest with idle connections.
const SHARE_BYTES: u64 = 24 << 20;

/// A key range to export.
#[derive(Debug, Clone)]
pub struct ShardTask {
    /// Keys to export.
    pub range: KeyRange,
}

/// What became of a shard.
pub struct ShardOutcome {
    /// The attempt, as in the names of its files.
    pub attempt: String,
    /// Keys that were exported.
    pub range: KeyRange,
    /// Bytes read from the gateway.
    pub bytes_read: u64,
    /// Everything that the scan returned.
    pub tally: Tally,
    /// Raw cells by reason.
    pub raw_reasons: BTreeMap<RawReason, u64>,
    /// Cells of points in rows under another salt, by number of the layout.
    pub by_layout: BTreeMap<u8, u64>,
    /// Files.
    pub files: Vec<FileRow>,
    /// Points by metric UID.
    pub metrics: MetricMap,
    /// The UIDs that the rows name, where they are noted.
    pub uids: Option<UidSet>,
}

impl ShardOutcome {
    /// What the encoder has made of the cells of a range.
    ///
    /// # Errors
    /// [`FlowError::Damaged`] when the files do not hold what went in.
    pub fn new(
        attempt: String,
        range: KeyRange,
        bytes_read: u64,
        tally: Tally,
        encoded: Encoded,
    ) -> Result<Self, FlowError> {
        let Encoded { files, metrics, raw_reasons, by_layout } = encoded;
        check_sum(&tally, &files)?;
        Ok(Self { attempt, range, bytes_read, tally, raw_reasons, by_layout, files, metrics, uids: None })
    }
}

/// What became of a key range.
pub struct Exported {
    /// The shard at its beginning; `None` when nothing in front of the first gap can be read.
    pub shard: Option<ShardOutcome>,
    /// Keys that cannot be read.
    pub gaps: Vec<Gap>,
    /// What is left of the range, in order, for other shards.
    pub rest: Vec<KeyRange>,
}

/// Exports a key range. `hungry` tells how many connections wait for work.
///
/// # Errors
/// Any stage's. Files of a failed shard are given up or stay behind as strays that no record names.
pub fn export_shard(
    context: &Arc<ExportContext>,
    client: &mut Client,
    task: ShardTask,
    hungry: &dyn Fn() -> usize,
) -> Result<Exported, FlowError> {
    let begun = Instant::now();
    let (attempt, first_series) = context.attempts.next();
    let mut stages = Stages::new(context, (attempt.clone(), first_series));
    client.go_near(host_of(&context.regions, &task.range.start));
    let mut scan = ShardScan::new(client, &context.files.table, task.range.clone(), context.scan.clone());
    let mut read = 0;
    let (mut position, mut pieces) = (None, 1);
    let mut page = CellBlock::new();
    let mut damage = Damage::default();
    let mut uids = context.note_uids.then(UidSet::default);
    loop {
        let bytes = match context.pace.next_page(&mut scan, &mut page) {
            Ok(None) => break,
            Ok(Some(bytes)) => bytes,
            Err(error) => {
                damage.meet(&mut scan, error, &task.range.stop, context.at_damage)?;
                continue;
            }
        };
        if context.cancel.is_set() || context.cancel_table.is_set() {
            return Err(FlowError::Interrupted);
        }
        read += bytes;
        context.progress.read(bytes);
        if let Some(uids) = &mut uids {
            uids.add_rows(&page, &context.files.layouts);
        }
        if !page.is_empty() {
            page = stages.decode(page)?;
        }
        let waiting = hungry();
        let many = uids.as_ref().is_some_and(|uids| uids.len() >= SHARD_UIDS);
        if many || read >= SHARD_BYTES || begun.elapsed() >= SHARD_TIME || waiting > 0 && read >= SHARE_BYTES {
            position = scan.position().map(<[u8]>::to_vec);
            pieces = waiting + 1;
            break;
        }
    }
    let begin = task.range.start;
    let stop = damage.stop().map_or(task.range.stop, <[u8]>::to_vec);
    let mut rest = match position {
        Some(position) => split(context, client, KeyRange::new(position, stop.clone()), pieces)?,
        None => Vec::new(),
    };
    let end = rest.first().map_or(stop, |next| next.start.clone());
    let (tally, encoded) = stages.finish()?;
    // In front of a gap at the very beginning nothing is left; an empty end without a gap is that of the table.
    let nothing = damage.stop().is_some() && end <= begin;
    let outcome = ShardOutcome::new(attempt, KeyRange::new(begin, end), read, tally, encoded)?;
    let outcome = ShardOutcome { uids, ..outcome };
    rest.extend(damage.behind.into_iter().rev());
    Ok(Exported { shard: (!nothing).then_some(outcome), gaps: damage.gaps, rest })
}

/// What is left of a shard that has run long enough, in up to `pieces` pieces.
fn split(
    context: &ExportContext,
    client: &mut Client,
    left: KeyRange,
    pieces: usize,
) -> Result<Vec<KeyRange>, FlowError> {
    let last = match last_row(client, &context.files.table, &left).map_err(FlowError::from) {
        // Without the last row the rest is one piece.
        Err(error) if context.at_damage == AtDamage::Skip && could_be_skipped(&error) => None,
        last => last?,
    };
    Ok(split_rest(left.start.clone(), &left, last.as_deref(), pieces))
}

/// What cannot be read of a range. Each gap that is met lies in front of the one before, so the shard ends at the last.
struct Damage {
    gaps: Vec<Gap>,
    /// What lies behind each gap, up to the one before.
    behind: Vec<KeyRange>,
    chances: u32,
}

impl Default for Damage {
    fn default() -> Self {
        Self { gaps: Vec::new(), behind: Vec::new(), chances: SECOND_CHANCES }
    }
}

impl Damage {
    /// Where the shard ends because of a gap.
    fn stop(&self) -> Option<&[u8]> {
        self.gaps.last().map(|gap| gap.range.start.as_slice())
    }

    /// Finds the gap that a scan failed at and ends the scan in front of it.
    fn meet(
        &mut self,
        scan: &mut ShardScan<'_>,
        error: FlowError,
        stop: &[u8],
        at_damage: AtDamage,
    ) -> Result<(), FlowError> {
        let what = error.to_string();
        match gap_at(scan, error, at_damage)? {
            Some(gap) => {
                let stop = self.stop().unwrap_or(stop);
                self.behind.extend(behind(&gap.range, stop));
                scan.end_at(&gap.range.start);
                self.gaps.push(gap);
                Ok(())
            }
            None if self.chances > 0 => {
                self.chances -= 1;
                Ok(())
            }
            None => Err(FlowError::damaged(format!("rows fail at some reads and not at others: {what}"))),
        }
    }
}

/// Nothing may be lost between the scan and the files.
fn check_sum(tally: &Tally, files: &[FileRow]) -> Result<(), FlowError> {
    let mut sum = Tally::default();
    files.iter().for_each(|file| sum.add(&file.tally));
    if sum.same_cells(tally) {
        return Ok(());
    }
    Err(FlowError::damaged(format!(
        "the files hold {} cells ({} bytes, checksum {:016x}), the scan returned {} ({} bytes, {:016x}); this is a defect, \
         please report it",
        sum.cells, sum.bytes, sum.checksum, tally.cells, tally.bytes, tally.checksum
    )))
}

/// Decoder and encoder of a shard, at home or at work in the pool.
pub struct Stages<'a> {
    context: &'a Arc<ExportContext>,
    decoder: Option<ShardDecoder>,
    decoding: Option<Pending<(ShardDecoder, CellBlock, bool)>>,
    encoder: Option<ShardEncoder>,
    encoding: Option<Pending<Result<ShardEncoder, FlowError>>>,
    counted: Tally,
    /// First and last row of the pages that the batch to come is taken from.
    rows: Option<(Vec<u8>, Vec<u8>)>,
}

const GONE: &str = "a CPU thread died; this is a defect, please report it";

impl<'a> Stages<'a> {
    /// Stages of an attempt, with its first series number.
    pub fn new(context: &'a Arc<ExportContext>, attempt: (String, i64)) -> Self {
        let decoder = Decoder::new(context.kind, context.files.layouts.clone(), context.rollups.clone());
        let decoder = decoder.with_charset(context.charset);
        Self {
            context,
            decoder: Some(ShardDecoder::new(decoder, context.batch_points, context.spare_batch())),
            decoding: None,
            encoder: Some(ShardEncoder::new(Arc::clone(&context.files), attempt, context.spare_batch())),
            encoding: None,
            counted: Tally::default(),
            rows: None,
        }
    }

    /// Sends a page to be decoded and returns an empty one to read into.
    pub fn decode(&mut self, page: CellBlock) -> Result<CellBlock, FlowError> {
        let (mut decoder, spare) = self.decoder()?;
        if decoder.is_full() {
            self.encode(&mut decoder)?;
        }
        let oversize = |block: &CellBlock| block.memory() > OVERSIZE * self.context.scan.page_bytes;
        let (great, kept) = (oversize(&page), if oversize(&spare) { CellBlock::new() } else { spare });
        self.start(decoder, page);
        if great {
            // Two of these would be too much: nothing is read meanwhile.
            self.decoder = Some(self.decoder()?.0);
        }
        Ok(kept)
    }

    /// Decodes a page, or what is left of one, in the pool.
    fn start(&mut self, mut decoder: ShardDecoder, page: CellBlock) {
        let key = |at: usize| page.row(at).map(|row| row.key.to_vec());
        if let Some((first, last)) = key(0).zip(page.row_count().checked_sub(1).and_then(key)) {
            self.rows = Some((self.rows.take().map_or(first, |(first, _)| first), last));
        }
        self.decoding = Some(self.context.files.threads.compute(move || {
            let whole = decoder.page(&page);
            (decoder, page, whole)
        }));
    }

    /// The decoder, after the page before is done.
    fn decoder(&mut self) -> Result<(ShardDecoder, CellBlock), FlowError> {
        let (decoder, spare) = loop {
            match (self.decoding.take(), self.decoder.take()) {
                (Some(pending), _) => match pending.wait().ok_or_else(|| FlowError::damaged(GONE))? {
                    (decoder, page, true) => break (decoder, page),
                    (mut decoder, page, false) => {
                        self.encode(&mut decoder)?;
                        self.start(decoder, page);
                    }
                },
                (None, Some(decoder)) => break (decoder, CellBlock::new()),
                (None, None) => return Err(FlowError::damaged(GONE)),
            }
        };
        let tally = decoder.tally();
        self.context.progress.counted(tally.cells - self.counted.cells, tally.points - self.counted.points);
        self.counted = tally;
        Ok((decoder, spare))
    }

    /// Sends what the decoder has collected to be encoded.
    fn encode(&mut self, decoder: &mut ShardDecoder) -> Result<(), FlowError> {
        let mut encoder = self.encoder()?;
        // Inside a row the points stay, for a batch to come.
        let rows = if decoder.is_inside_row() { self.rows.clone() } else { self.rows.take() };
        let batch = decoder.take(encoder.take_used());
        // Sorting copies points once; other rows are copied into columns, from there into pages, and wait for the store.
        let memory = 2 * batch.points.memory() + 4 * batch.other_bytes;
        let reservation = self.context.encode_budget.reserve(memory as u64);
        self.encoding = Some(self.context.files.threads.compute(move || {
            let result = encoder.encode(batch, rows);
            drop(reservation);
            result.map(|()| encoder)
        }));
        Ok(())
    }

    /// The encoder, after the batch before is done.
    fn encoder(&mut self) -> Result<ShardEncoder, FlowError> {
        match (self.encoding.take(), self.encoder.take()) {
            (Some(pending), _) => pending.wait().ok_or_else(|| FlowError::damaged(GONE))?,
            (None, Some(encoder)) => Ok(encoder),
            (None, None) => Err(FlowError::damaged(GONE)),
        }
    }

    /// Completes all files.
    ///
    /// # Errors
    /// Any stage's.
    pub fn finish(mut self) -> Result<(Tally, Encoded), FlowError> {
        let (mut decoder, _) = self.decoder()?;
        self.encode(&mut decoder)?;
        let mut encoder = self.encoder()?;
        let memory = [encoder.take_used(), encoder.take_sorted()];
        self.context.spare_batches.lock().unwrap_or_else(PoisonError::into_inner).extend(memory);
        Ok((decoder.tally(), encoder.finish()?))
    }
}
