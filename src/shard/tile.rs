//! Choosing pieces that cover a table once, of more than that.

use crate::model::KeyRange;

/// A range that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its keys.
    pub range: KeyRange,
    /// They could not be read, which is worse than any other piece and better than none.
    pub gap: bool,
}

/// What covers a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tiling {
    /// Numbers of the chosen pieces, in key order and without overlaps.
    pub chosen: Vec<usize>,
    /// Keys that none of them covers, in order.
    pub holes: Vec<KeyRange>,
}

/// A bound between keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bound<'a> {
    Before(&'a [u8]),
    End,
}

/// What a way from the beginning of the table costs: stretches between two bounds without a piece, those in gaps, pieces.
type Cost = (usize, usize, usize);

/// The best way to a bound: what it costs, the bound before, and the piece in between; none is a hole.
#[derive(Debug, Clone, Copy)]
struct Way {
    cost: Cost,
    from: usize,
    piece: Option<usize>,
}

/// Chooses pieces without overlaps that leave as little of the table uncovered as they can, then as little in gaps, then
/// as few pieces; of several such choices the one with earlier pieces. Pieces of two attempts at one range may be cut at
/// different keys, so a piece fits behind another one only where that one ends.
pub fn tile(pieces: &[Piece]) -> Tiling {
    let ends = |piece: &'_ Piece| piece.range.stop.is_empty();
    let mut bounds = vec![Bound::Before(&[]), Bound::End];
    bounds.extend(pieces.iter().map(|piece| Bound::Before(&piece.range.start)));
    bounds.extend(pieces.iter().filter(|piece| !ends(piece)).map(|piece| Bound::Before(&piece.range.stop)));
    bounds.sort_unstable();
    bounds.dedup();
    let at = |bound: Bound<'_>| bounds.partition_point(|other| *other < bound);
    let mut starting: Vec<Vec<usize>> = vec![Vec::new(); bounds.len()];
    for (number, piece) in pieces.iter().enumerate().filter(|(_, piece)| !piece.range.is_empty()) {
        if let Some(here) = starting.get_mut(at(Bound::Before(&piece.range.start))) {
            here.push(number);
        }
    }
    let mut ways: Vec<Option<Way>> = vec![None; bounds.len()];
    let mut cost: Cost = (0, 0, 0);
    for from in 0..bounds.len() {
        if let Some(way) = ways.get(from).copied().flatten() {
            cost = way.cost;
        }
        let (holes, gaps, count) = cost;
        let mut offer = |to: usize, cost: Cost, piece: Option<usize>| {
            if let Some(way) = ways.get_mut(to)
                && way.is_none_or(|way| cost < way.cost)
            {
                *way = Some(Way { cost, from, piece });
            }
        };
        for number in starting.get(from).into_iter().flatten() {
            let Some(piece) = pieces.get(*number) else { continue };
            let to = if ends(piece) { bounds.len() - 1 } else { at(Bound::Before(&piece.range.stop)) };
            let in_gaps = if piece.gap { to - from } else { 0 };
            offer(to, (holes, gaps + in_gaps, count + 1), Some(*number));
        }
        offer(from + 1, (holes + 1, gaps, count), None);
    }
    trace(&bounds, &ways)
}

/// Follows the best way from the end back to the beginning.
fn trace(bounds: &[Bound<'_>], ways: &[Option<Way>]) -> Tiling {
    let mut tiling = Tiling::default();
    let mut to = bounds.len() - 1;
    while let Some(Way { from, piece, .. }) = ways.get(to).copied().flatten() {
        let key = |at: usize| match bounds.get(at) {
            Some(Bound::Before(key)) => key.to_vec(),
            _ => Vec::new(),
        };
        match (piece, tiling.holes.last_mut()) {
            (Some(number), _) => tiling.chosen.push(number),
            (None, Some(behind)) if to < bounds.len() - 1 && behind.start == key(to) => behind.start = key(from),
            (None, _) => tiling.holes.push(KeyRange::new(key(from), key(to))),
        }
        to = from;
    }
    tiling.chosen.reverse();
    tiling.holes.reverse();
    tiling
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::uncovered;

    fn piece(start: &str, stop: &str) -> Piece {
        Piece { range: KeyRange::new(start, stop), gap: false }
    }

    fn gap(start: &str, stop: &str) -> Piece {
        Piece { gap: true, ..piece(start, stop) }
    }

    #[test]
    fn nothing_covers_nothing() {
        assert_eq!(tile(&[]), Tiling { chosen: vec![], holes: vec![KeyRange::all()] });
        assert_eq!(tile(&[piece("c", "c")]).holes, [KeyRange::all()]);
    }

    #[test]
    fn of_two_attempts_at_a_range_one_is_chosen() {
        let all = [piece("", "m"), piece("m", ""), piece("", "m"), piece("", "f"), piece("f", "m")];
        assert_eq!(tile(&all), Tiling { chosen: vec![0, 1], holes: vec![] });
        // The first attempt was killed, the second one cut at another key.
        let all = [piece("", "g"), piece("", "f"), piece("f", "m"), piece("m", "")];
        assert_eq!(tile(&all), Tiling { chosen: vec![1, 2, 3], holes: vec![] });
    }

    #[test]
    fn of_pieces_that_overlap_those_are_chosen_that_leave_least() {
        let all = [piece("c", ""), piece("", "b"), piece("a", "d"), piece("x", "z")];
        assert_eq!(tile(&all), Tiling { chosen: vec![1, 0], holes: vec![KeyRange::new("b", "c")] });
        let all = [piece("b", "c"), piece("d", "e")];
        let holes = [KeyRange::new("", "b"), KeyRange::new("c", "d"), KeyRange::new("e", "")];
        assert_eq!(tile(&all).holes, holes);
    }

    #[test]
    fn a_gap_gives_way_to_whatever_was_read() {
        let all = [piece("", "c"), gap("c", "f"), piece("f", ""), piece("c", "f")];
        assert_eq!(tile(&all), Tiling { chosen: vec![0, 3, 2], holes: vec![] });
        // Less of it than before could not be read.
        let all = [piece("", "c"), gap("c", "f"), piece("f", ""), piece("c", "d"), gap("d", "f")];
        assert_eq!(tile(&all), Tiling { chosen: vec![0, 3, 4, 2], holes: vec![] });
        // And a gap is better than a hole.
        assert_eq!(tile(&[piece("", "c"), gap("c", "")]), Tiling { chosen: vec![0, 1], holes: vec![] });
    }

    /// Whatever is there, what is chosen has no overlaps, and holes and pieces cover the table.
    #[test]
    fn chosen_pieces_and_holes_cover_the_table_once() {
        let mut seed = 7_u64;
        let mut dice = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..500 {
            let key = |n: u64| if n == 0 { Vec::new() } else { vec![n as u8] };
            let pieces: Vec<Piece> = (0..dice(12))
                .map(|_| Piece { range: KeyRange::new(key(dice(9)), key(dice(10))), gap: dice(4) == 0 })
                .collect();
            let tiling = tile(&pieces);
            let mut all: Vec<KeyRange> = tiling.chosen.iter().map(|at| pieces[*at].range.clone()).collect();
            all.extend(tiling.holes.iter().cloned());
            all.sort_by(|a, b| a.start.cmp(&b.start));
            assert_eq!(uncovered(&all), [], "{pieces:?}: {tiling:?}");
            assert!(all.windows(2).all(|pair| pair[0].stop == pair[1].start), "{pieces:?}: {tiling:?}");
        }
    }
}
