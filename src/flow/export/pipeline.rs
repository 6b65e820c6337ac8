//! From files of points to pieces of the export, in order.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::columnar::{Table, plain_table};
use crate::flow::engine::threads::Pending;
use crate::flow::export::formats::TextFormat;
use crate::flow::export::partition::split;
use crate::flow::export::plan::Partition;
use crate::flow::export::report::Counts;
use crate::flow::export::runs::{Stretch, Wanted, read};
use crate::flow::export::source::{Labels, Loaded, Reader, Source};
use crate::flow::{Cancel, FlowError};
use crate::model::{PlainColumns, PointBatch, hex};
use crate::parquet_file::{FileError, PointsReader};

/// Files that are read ahead.
const AHEAD: usize = 2;
/// Points of a piece, about.
const PIECE_POINTS: usize = 32 << 10;
/// Pieces that are made or wait to be written.
const PIECES: usize = 8;

/// What pieces are made of.
#[derive(Debug)]
pub enum Maker {
    /// Text.
    Text(TextFormat),
    /// Tables by partition.
    Tables(PlainColumns, Partition),
}

/// A piece of the export.
pub enum Piece {
    /// Text.
    Text(Vec<u8>),
    /// Tables, each with the folder of its partition.
    Tables(Vec<(String, Table)>),
}

/// A piece, and what it is made of.
pub struct Made {
    /// The piece.
    pub piece: Piece,
    /// Its points, and those that are in no piece.
    pub counts: Counts,
    /// Hashes of the TSUIDs of its series.
    pub series: Vec<u64>,
}

/// A file of points on its way through the CPU pool, and its next row group.
type Decoded = (PointsReader, Result<Option<PointBatch>, FileError>);

/// Reads files and makes pieces of them.
pub struct Pipeline<'a> {
    /// Reads files.
    pub reader: &'a Reader,
    /// Makes pieces.
    pub maker: Arc<Maker>,
    /// Which points.
    pub wanted: Wanted,
    /// Ends the reading.
    pub cancel: &'a Cancel,
}

impl Pipeline<'_> {
    /// Hands the pieces of the files to `each`, in order, until it returns false; false then.
    ///
    /// # Errors
    /// The store's; a file that is damaged; [`FlowError::Interrupted`]; what `each` returns.
    pub fn run(
        &self,
        sources: Vec<Source>,
        each: &mut dyn FnMut(Made) -> Result<bool, FlowError>,
    ) -> Result<bool, FlowError> {
        let mut rest = sources.into_iter();
        let mut ahead: VecDeque<_> = rest.by_ref().take(AHEAD).map(|source| self.reader.begin(source)).collect();
        while let Some(next) = ahead.pop_front() {
            let loaded = result_of(next)??;
            ahead.extend(rest.next().map(|source| self.reader.begin(source)));
            let path = loaded.file.path.clone();
            if !self.file(loaded, each).map_err(|error| error.at(path))? {
                return Ok(false);
            }
            self.reader.progress.finished();
        }
        Ok(true)
    }

    fn file(&self, loaded: Loaded, each: &mut dyn FnMut(Made) -> Result<bool, FlowError>) -> Result<bool, FlowError> {
        let Some(bytes) = loaded.bytes else { return Ok(true) };
        let mut next = self.decode(PointsReader::open_recorded(bytes, loaded.file.rows)?);
        let mut making = VecDeque::new();
        loop {
            let (reader, batch) = result_of(next)?;
            let Some(batch) = batch? else { break };
            next = self.decode(reader);
            let batch = Arc::new(batch);
            for stretches in pieces(&batch, &loaded.labels)? {
                making.push_back(self.make(&batch, stretches));
                if making.len() >= PIECES && !self.hand_on(&mut making, each)? {
                    return Ok(false);
                }
            }
        }
        while !making.is_empty() {
            if !self.hand_on(&mut making, each)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn decode(&self, mut reader: PointsReader) -> Pending<Decoded> {
        self.reader.threads.compute(move || {
            let batch = reader.next_group();
            (reader, batch)
        })
    }

    fn make(&self, batch: &Arc<PointBatch>, stretches: Vec<Stretch>) -> Pending<Result<Made, FlowError>> {
        let (maker, batch, wanted) = (Arc::clone(&self.maker), Arc::clone(batch), self.wanted);
        self.reader.threads.compute(move || maker.make(&batch, &stretches, wanted))
    }

    fn hand_on(
        &self,
        making: &mut VecDeque<Pending<Result<Made, FlowError>>>,
        each: &mut dyn FnMut(Made) -> Result<bool, FlowError>,
    ) -> Result<bool, FlowError> {
        if self.cancel.is_set() {
            return Err(FlowError::Interrupted);
        }
        let Some(next) = making.pop_front() else { return Ok(true) };
        let made = result_of(next)??;
        self.reader.progress.counted(0, made.counts.points);
        each(made)
    }
}

fn result_of<T>(pending: Pending<T>) -> Result<T, FlowError> {
    pending.wait().ok_or_else(|| FlowError::panicked(&"a thread of the CPU pool"))
}

/// The wanted series of a batch, some thousand points at a time.
fn pieces(batch: &PointBatch, labels: &Labels) -> Result<Vec<Vec<Stretch>>, FlowError> {
    let (mut pieces, mut piece, mut points) = (Vec::new(), Vec::new(), 0);
    let mut at = 0;
    while let Some(first) = batch.segments.get(at) {
        let rest = batch.segments.get(at..).unwrap_or_default();
        let segments: Range<usize> = at..at + rest.iter().take_while(|next| next.series == first.series).count();
        at = segments.end;
        let tsuid = batch.series.get(first.series as usize).map(hex).unwrap_or_default();
        let label = labels.get(&tsuid).ok_or_else(|| {
            FlowError::damaged(format!("series {tsuid} is in no file of series; run verify --level files"))
        })?;
        let Some(label) = label else { continue };
        points += rest.iter().take(segments.len()).map(|segment| segment.len).sum::<usize>();
        piece.push(Stretch { label: Arc::clone(label), series: first.series, segments });
        if points >= PIECE_POINTS {
            pieces.push(std::mem::take(&mut piece));
            points = 0;
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    Ok(pieces)
}

impl Maker {
    fn make(&self, batch: &PointBatch, stretches: &[Stretch], wanted: Wanted) -> Result<Made, FlowError> {
        let (mut counts, mut series, mut runs, mut text) = (Counts::default(), Vec::new(), Vec::new(), Vec::new());
        for stretch in stretches {
            let outside = || FlowError::damaged("points of the file do not fit together");
            let (run, superseded) = read(batch, stretch, wanted).ok_or_else(outside)?;
            counts.superseded += superseded;
            if run.points.is_empty() {
                continue;
            }
            let before = counts.points;
            match self {
                Self::Text(format) => format.write(&run, &mut text, &mut counts)?,
                Self::Tables(..) => counts.points += run.points.len() as u64,
            }
            if counts.points > before {
                series.extend(batch.series.get(stretch.series as usize).map(xxh3_64));
            }
            // Lines cannot carry such a series and have counted it.
            if !run.label.complete {
                counts.unnamed += counts.points - before;
            }
            if matches!(self, Self::Tables(..)) {
                runs.push(run);
            }
        }
        let piece = match self {
            Self::Text(_) => Piece::Text(text),
            Self::Tables(columns, partition) => Piece::Tables(
                split(runs, *partition)?
                    .into_iter()
                    .map(|(folder, runs)| Ok((folder, plain_table(&runs, columns).map_err(FileError::from)?)))
                    .collect::<Result<_, FlowError>>()?,
            ),
        };
        Ok(Made { piece, counts, series })
    }
}
