//! The reply of `getScannerResults`, read into a [`CellBlock`] over the very buffer it came in.
//!
//! ```text
//! message head | result struct { 0: list<TResult> | 1: TIOError }
//! TResult      { 1: row, 2: list<TColumnValue>, 3: stale, 4: partial }
//! TColumnValue { 1: family, 2: qualifier, 3: value, 4: timestamp, 5: tags, 6: type }
//! ```
//!
//! The parser can stop at the end of its input and go on when there is more: complete rows stay, the row in the
//! making is taken back. A scan with a batch size sends a wide row in several results; they are joined into one row.

use std::marker::PhantomData;

use crate::cluster::reply::protocol::WireCell;
use crate::cluster::reply::simple::{Exception, Expected, head, io_error};
use crate::cluster::reply::{Fault, Input, Kind, Protocol};
use crate::model::{CellBlock, Span, kind};

/// What is known of a reply besides its cells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ScanOutcome {
    /// Results, joined or not.
    pub results: usize,
    /// The last result is not the end of its row.
    pub last_partial: bool,
    /// A cell came without its type.
    pub untyped: bool,
    /// Sent instead of results.
    pub exception: Option<Exception>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    /// Before a field of the result struct; the id of the field before.
    Field(i16),
    /// Inside the list of results; how many are to come.
    Results(usize),
    Done,
}

/// The parser's state between two pieces of input.
pub(crate) struct ScanReply<P> {
    expected: Expected,
    limit: usize,
    /// Whether results of the same row belong together.
    join: bool,
    at: usize,
    stage: Stage,
    outcome: ScanOutcome,
    protocol: PhantomData<P>,
}

impl<P: Protocol> ScanReply<P> {
    pub fn new(expected: Expected, limit: usize, join: bool) -> Self {
        let outcome = ScanOutcome::default();
        Self { expected, limit, join, at: 0, stage: Stage::Head, outcome, protocol: PhantomData }
    }

    /// Continues with the first `filled` bytes of the block's buffer. [`Fault::Short`] asks for more.
    pub fn advance(&mut self, block: &mut CellBlock, filled: usize) -> Result<(), Fault> {
        while self.stage != Stage::Done {
            let rows = block.row_count();
            if let Err(fault) = self.step(block, filled) {
                block.truncate_rows(rows);
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Where the complete reply ends.
    pub fn end(&self) -> usize {
        self.at
    }

    /// What the complete reply said.
    pub fn finish(self) -> ScanOutcome {
        self.outcome
    }

    /// One piece that is either taken whole or not at all.
    fn step(&mut self, block: &mut CellBlock, filled: usize) -> Result<(), Fault> {
        let bytes = block.bytes().get(..filled).unwrap_or_default();
        let mut input = Input::new(bytes, self.at, self.limit);
        let stage = match self.stage {
            Stage::Head => {
                self.outcome.exception = head::<P>(&mut input, self.expected)?;
                if self.outcome.exception.is_some() { Stage::Done } else { Stage::Field(0) }
            }
            Stage::Field(last) => match P::field(&mut input, last)? {
                None => Stage::Done,
                Some((Kind::List, 0)) => match P::list(&mut input)? {
                    (_, 0) => Stage::Field(0),
                    (Kind::Struct, count) => Stage::Results(count),
                    _ => return Err(input.bad("results are not structs")),
                },
                Some((Kind::Struct, 1)) => {
                    self.outcome.exception = Some(io_error::<P>(&mut input)?);
                    Stage::Field(1)
                }
                Some((kind, id)) => {
                    P::skip(&mut input, kind, 0)?;
                    Stage::Field(id)
                }
            },
            Stage::Results(0) => Stage::Field(0),
            Stage::Results(left) => {
                let at = input.at();
                let (end, partial) = self.result(block, filled, at)?;
                self.outcome.results += 1;
                self.outcome.last_partial = partial;
                self.at = end;
                self.stage = Stage::Results(left - 1);
                return Ok(());
            }
            Stage::Done => Stage::Done,
        };
        self.at = input.at();
        self.stage = stage;
        Ok(())
    }

    /// Reads one `TResult` from `at`; returns its end and whether it is partial.
    fn result(&mut self, block: &mut CellBlock, filled: usize, at: usize) -> Result<(usize, bool), Fault> {
        let (mut at, mut last, mut row, mut partial) = (at, 0, None, false);
        if self.join {
            // Cells added to a row of before could not be taken back, so the result must be there as a whole.
            P::skip(&mut self.input(block, filled, at), Kind::Struct, 0)?;
        }
        loop {
            let mut input = self.input(block, filled, at);
            let Some((kind, id)) = P::field(&mut input, last)? else {
                at = input.at();
                break;
            };
            last = id;
            match (id, kind) {
                (1, Kind::Binary) => {
                    let key = P::binary(&mut input)?;
                    at = input.at();
                    row = Some(key);
                    if !(self.join && is_last_row(block, key)) {
                        block.start_row_at(key)?;
                    }
                    continue;
                }
                (2, Kind::List) => {
                    let (element, count) = P::list(&mut input)?;
                    if count > 0 && (row.is_none() || element != Kind::Struct) {
                        return Err(input.bad("cells without a row"));
                    }
                    let start = input.at();
                    at = self.cells(block, filled, start, count)?;
                    continue;
                }
                (4, Kind::Bool) => partial = P::bool(&mut input)?,
                (4, Kind::Flag(value)) => partial = value,
                (1 | 2 | 4, _) => return Err(input.bad("a field of another type")),
                _ => P::skip(&mut input, kind, 0)?,
            }
            at = input.at();
        }
        Ok((at, partial))
    }

    #[inline]
    fn input<'a>(&self, block: &'a CellBlock, filled: usize, at: usize) -> Input<'a> {
        Input::new(block.bytes().get(..filled).unwrap_or_default(), at, self.limit)
    }

    /// Reads `count` cells from `at`; returns their end.
    fn cells(&mut self, block: &mut CellBlock, filled: usize, at: usize, count: usize) -> Result<usize, Fault> {
        if count == 0 {
            return Ok(at);
        }
        let (bytes, mut cells) = block.parts()?;
        let mut input = Input::new(bytes.get(..filled).unwrap_or_default(), at, self.limit);
        for _ in 0..count {
            let cell = match P::usual_cell(&mut input) {
                Some(cell) => cell,
                None => any_cell::<P>(&mut input)?,
            };
            let WireCell { family, qualifier, value, timestamp, kind: code } = cell;
            cells.add(input.slice(family), qualifier, value, timestamp, code.unwrap_or(kind::PUT))?;
            self.outcome.untyped |= code.is_none();
        }
        Ok(input.at())
    }
}

/// True when the last row of the block has this key.
fn is_last_row(block: &CellBlock, key: Span) -> bool {
    let last = block.row_count().checked_sub(1).and_then(|last| block.row(last));
    last.is_some_and(|last| last.key == block.slice(key))
}

/// Reads a `TColumnValue` with its fields in any order.
fn any_cell<P: Protocol>(input: &mut Input<'_>) -> Result<WireCell, Fault> {
    let (mut family, mut qualifier, mut value) = (None, None, None);
    let (mut timestamp, mut code, mut last) = (None, None, 0);
    while let Some((field, id)) = P::field(input, last)? {
        match (id, field) {
            (1, Kind::Binary) => family = Some(P::binary(input)?),
            (2, Kind::Binary) => qualifier = Some(P::binary(input)?),
            (3, Kind::Binary) => value = Some(P::binary(input)?),
            (4, Kind::I64) => timestamp = Some(P::i64(input)?),
            (6, Kind::I8) => code = Some(input.byte()?),
            (1..=4 | 6, _) => return Err(input.bad("a field of another type")),
            _ => P::skip(input, field, 0)?,
        }
        last = id;
    }
    match (family, qualifier, value, timestamp) {
        (Some(family), Some(qualifier), Some(value), Some(timestamp)) => {
            Ok(WireCell { family, qualifier, value, timestamp, kind: code })
        }
        _ => Err(input.bad("a cell without family, qualifier, value or timestamp")),
    }
}
