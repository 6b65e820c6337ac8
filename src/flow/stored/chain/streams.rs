//! The rows of one table of one backup in key order, from files of several kinds.
//!
//! Each kind of file is a stream of its own: its files follow each other in key order, and so do the batches of points
//! inside a file, whose rows are sorted here because a file has them by series. One batch, or one step of other cells, is
//! held at a time.

use std::collections::{BTreeMap, VecDeque};

use crate::codec::Scratch;
use crate::flow::FlowError;
use crate::flow::stored::backup_files::{BackupContents, ReadTools};
use crate::flow::stored::contents::push_segment;
use crate::flow::stored::part_reader::{cell_reader, points_reader};
use crate::flow::stored::selected::{Chooser, Wanted};
use crate::manifest::FileName;
use crate::model::{Cell, CellBlock, FileKind, FileRow, KeyLayouts, KeyRange, RowView, ShardRow};
use crate::parquet_file::{CellReader, PointsReader};

/// Sorted rows of one kind of file.
struct Stream<'a> {
    files: VecDeque<&'a FileRow>,
    open: Option<Open>,
    block: CellBlock,
    /// The rows of the block in key order.
    order: Vec<u32>,
    at: usize,
    /// The row is the next one of the range.
    at_hand: bool,
    /// Its key, or that of the one before.
    last: Vec<u8>,
}

struct Open {
    path: String,
    reader: Reader,
}

enum Reader {
    Points { reader: PointsReader, batches: VecDeque<usize> },
    Cells(Box<CellReader>),
}

/// All streams of a table of one backup, inside a key range.
pub struct TableStreams<'a> {
    tools: ReadTools<'a>,
    layouts: KeyLayouts,
    range: KeyRange,
    streams: Vec<Stream<'a>>,
    /// What is wanted; `None`: all rows.
    chooser: Option<Chooser<'a>>,
}

impl<'a> TableStreams<'a> {
    /// The rows of the range; nothing is read yet. Where only some cells are wanted, others may be left out, but no version
    /// of a wanted column and no delete marker that covers one.
    pub fn new(
        tools: ReadTools<'a>,
        contents: &'a BackupContents,
        table: &str,
        range: &KeyRange,
        wanted: Option<&'a Wanted>,
    ) -> Self {
        let meets = |shard: &&ShardRow| {
            shard.table == table
                && (range.stop.is_empty() || shard.start < range.stop)
                && shard.range().is_before_stop(&range.start)
        };
        let mut shards: Vec<&ShardRow> = contents.shards.iter().filter(meets).collect();
        shards.sort_by(|a, b| a.start.cmp(&b.start));
        let mut kinds: BTreeMap<FileKind, VecDeque<&FileRow>> = BTreeMap::new();
        for shard in shards {
            let files = contents.cells_of_shard(shard).filter(|file| file.may_meet(range));
            let mut files: Vec<&FileRow> =
                files.filter(|file| wanted.is_none_or(|wanted| wanted.may_be_in(file))).collect();
            files.sort_by_key(|file| FileName::parse(&file.path).map(|name| name.number));
            for file in files {
                kinds.entry(file.kind).or_default().push_back(file);
            }
        }
        let streams = kinds.into_values().map(|files| Stream {
            files,
            open: None,
            block: CellBlock::new(),
            order: Vec::new(),
            at: 0,
            at_hand: false,
            last: Vec::new(),
        });
        let layouts = contents.manifest.layouts();
        let chooser = wanted.map(|wanted| wanted.chooser(table));
        Self { tools, layouts, range: range.clone(), streams: streams.collect(), chooser }
    }

    /// Reads on until the next row of every stream is at hand.
    ///
    /// # Errors
    /// The store's; [`FlowError::Damaged`] for files that are not as recorded, or out of order.
    pub fn read_on(&mut self) -> Result<(), FlowError> {
        let Self { tools, layouts, range, streams, chooser } = self;
        streams.iter_mut().try_for_each(|stream| stream.read_on(*tools, (layouts, range), chooser).map(drop))
    }

    /// The least key that is at hand; `None` at the end.
    pub fn next_key(&self) -> Option<&[u8]> {
        self.streams.iter().filter(|stream| stream.at_hand).filter_map(Stream::row).map(|row| row.key).min()
    }

    /// Hands out the cells of the row, where this backup has it, and steps behind it.
    ///
    /// # Errors
    /// As [`read_on`](Self::read_on), and those of `take`.
    pub fn take_row(
        &mut self,
        key: &[u8],
        take: &mut dyn FnMut(&Cell<'_>) -> Result<(), FlowError>,
    ) -> Result<(), FlowError> {
        let Self { tools, layouts, range, streams, chooser } = self;
        for stream in streams {
            while stream.read_on(*tools, (layouts, range), chooser)? {
                let Some(row) = stream.row().filter(|row| row.key == key) else { break };
                row.iter().try_for_each(|cell| take(&cell))?;
                stream.at += 1;
                stream.at_hand = false;
            }
        }
        Ok(())
    }
}

impl Stream<'_> {
    fn row(&self) -> Option<RowView<'_>> {
        self.block.row(*self.order.get(self.at)? as usize)
    }

    /// Reads on until the next row of the range is at hand; false at the end.
    fn read_on(
        &mut self,
        tools: ReadTools<'_>,
        (layouts, range): (&KeyLayouts, &KeyRange),
        chooser: &mut Option<Chooser<'_>>,
    ) -> Result<bool, FlowError> {
        while !self.at_hand {
            let Self { block, order, at, last, .. } = self;
            if let Some(row) = order.get(*at).and_then(|row| block.row(*row as usize)) {
                if row.key < range.start.as_slice() {
                    *at += 1;
                } else if !range.is_before_stop(row.key) {
                    return Ok(false);
                } else if row.key < last.as_slice() {
                    let path = self.open.as_ref().map_or("a file", |open| open.path.as_str());
                    return Err(FlowError::damaged(format!("{path}: its rows are not in the order of their keys")));
                } else {
                    last.clear();
                    last.extend_from_slice(row.key);
                    self.at_hand = true;
                }
            } else if !self.fill(tools, layouts, chooser)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads the next batch or step; false behind the last file.
    fn fill(
        &mut self,
        tools: ReadTools<'_>,
        layouts: &KeyLayouts,
        chooser: &mut Option<Chooser<'_>>,
    ) -> Result<bool, FlowError> {
        self.block.clear();
        self.order.clear();
        self.at = 0;
        loop {
            if tools.cancel.is_set() {
                return Err(FlowError::Interrupted);
            }
            let Some(open) = &mut self.open else {
                let Some(file) = self.files.pop_front() else { return Ok(false) };
                self.open = Some(Open::new(tools, file, chooser).map_err(|error| error.at(file.path.clone()))?);
                continue;
            };
            let more = open.read(&mut self.block, layouts, chooser).map_err(|error| error.at(open.path.clone()))?;
            if !more {
                self.open = None;
                continue;
            }
            let block = &self.block;
            self.order.extend(0..block.row_count() as u32);
            if matches!(open.reader, Reader::Points { .. }) {
                self.order.sort_by(|a, b| {
                    let key = |at: &u32| block.row(*at as usize).map(|row| row.key);
                    key(a).cmp(&key(b))
                });
            }
            return Ok(true);
        }
    }
}

impl Open {
    fn new(tools: ReadTools<'_>, file: &FileRow, chooser: &mut Option<Chooser<'_>>) -> Result<Self, FlowError> {
        let open = match file.kind {
            FileKind::Points => {
                let points = points_reader(tools, file, chooser.as_mut())?;
                let batches = points.batches().into();
                Reader::Points { reader: points, batches }
            }
            _ => Reader::Cells(Box::new(cell_reader(tools, file, chooser.as_ref())?)),
        };
        Ok(Self { path: file.path.clone(), reader: open })
    }

    /// Adds the next batch or step; false at the end of the file.
    fn read(
        &mut self,
        block: &mut CellBlock,
        layouts: &KeyLayouts,
        chooser: &mut Option<Chooser<'_>>,
    ) -> Result<bool, FlowError> {
        let (reader, batches) = match &mut self.reader {
            Reader::Cells(reader) => return Ok(reader.next(block)?),
            Reader::Points { reader, batches } => (reader, batches),
        };
        let Some(groups) = batches.pop_front() else { return Ok(false) };
        let mut scratch = Scratch::default();
        for _ in 0..groups {
            let Some(batch) = reader.next_group()? else { break };
            for segment in batch.segments.iter().filter(|segment| segment.exact) {
                // Of cells of other hours some points may be missing.
                if chooser.as_mut().is_some_and(|chooser| !chooser.hour(&batch, segment)) {
                    continue;
                }
                push_segment((&batch, segment), layouts, &mut scratch, block, |_| true)?;
            }
        }
        Ok(true)
    }
}
