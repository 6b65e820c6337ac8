//! Cutting key ranges between two known rows.

use crate::model::KeyRange;

/// Digits that take part in the interpolation; further bytes are too fine to matter.
const DIGITS: usize = 16;

/// Up to `pieces - 1` ascending keys that divide the keys between `first` and `last` evenly as numbers.
///
/// Both keys are read as fractions of base 256. A key equal to either end or to its neighbour is left out, so fewer
/// come back when the two lie close together.
pub fn between(first: &[u8], last: &[u8], pieces: usize) -> Vec<Vec<u8>> {
    let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    let digits = DIGITS.min(first.len().max(last.len()).saturating_sub(common));
    if first >= last || digits == 0 || pieces < 2 {
        return Vec::new();
    }
    // At most 16 bytes behind the common prefix: the difference fits u128, its product with a share may not.
    let digits = digits.min(12);
    let low = number(&first[common.min(first.len())..], digits);
    let high = number(&last[common.min(last.len())..], digits);
    let pieces = pieces as u128;
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for piece in 1..pieces {
        let at = low + (high - low) / pieces * piece + (high - low) % pieces * piece / pieces;
        let mut key = first.get(..common).unwrap_or_default().to_vec();
        key.extend_from_slice(&at.to_be_bytes()[16 - digits..]);
        while key.last() == Some(&0) {
            key.pop();
        }
        if key.as_slice() > first && key.as_slice() < last && keys.last().is_none_or(|previous| *previous < key) {
            keys.push(key);
        }
    }
    keys
}

fn number(bytes: &[u8], digits: usize) -> u128 {
    (0..digits).fold(0, |n, i| n << 8 | u128::from(bytes.get(i).copied().unwrap_or(0)))
}

/// The range divided at ascending keys that lie inside it.
pub fn cut(range: &KeyRange, keys: &[Vec<u8>]) -> Vec<KeyRange> {
    let mut pieces = Vec::with_capacity(keys.len() + 1);
    let mut start = range.start.clone();
    for key in keys.iter().filter(|key| **key > range.start && range.is_before_stop(key)) {
        if *key > start {
            pieces.push(KeyRange::new(std::mem::replace(&mut start, key.clone()), key.clone()));
        }
    }
    pieces.push(KeyRange::new(start, range.stop.clone()));
    pieces
}

/// What is left of a shard that ends at `position`, in up to `pieces` pieces. `last` is the last row known to exist.
pub fn split_rest(position: Vec<u8>, range: &KeyRange, last: Option<&[u8]>, pieces: usize) -> Vec<KeyRange> {
    let rest = KeyRange::new(position, range.stop.clone());
    if rest.is_empty() {
        return Vec::new();
    }
    let keys = last.map(|last| between(&rest.start, last, pieces)).unwrap_or_default();
    cut(&rest, &keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_divide_evenly_and_stay_inside() {
        assert_eq!(between(&[0, 0, 1], &[0, 0, 9], 4), vec![vec![0, 0, 3], vec![0, 0, 5], vec![0, 0, 7]]);
        assert_eq!(between(&[1], &[1], 4), Vec::<Vec<u8>>::new());
        let half = [vec![0x7f], vec![0xff; 11]].concat();
        assert_eq!(between(b"", &[255; 40], 2), vec![half]);
        let keys = between(&[5, 1], &[5, 3], 8);
        assert!(keys.windows(2).all(|w| w[0] < w[1]) && keys.iter().all(|k| k.as_slice() > [5u8, 1].as_slice()));
    }

    #[test]
    fn close_keys_give_fewer_pieces() {
        assert_eq!(between(&[7, 1], &[7, 2], 100).len(), 0);
        assert_eq!(between(&[7, 1, 0], &[7, 2, 0], 100).len(), 99);
    }

    #[test]
    fn pieces_cover_the_range_without_gap() {
        let range = KeyRange::new([1], [9]);
        let pieces = cut(&range, &[vec![0], vec![3], vec![3], vec![5], vec![9], vec![12]]);
        assert_eq!(pieces, [KeyRange::new([1], [3]), KeyRange::new([3], [5]), KeyRange::new([5], [9])]);
        assert_eq!(cut(&KeyRange::all(), &[]), [KeyRange::all()]);
    }

    #[test]
    fn the_rest_of_a_finished_range_is_nothing() {
        let range = KeyRange::new([1], [9]);
        assert!(split_rest(vec![9], &range, Some(&[8]), 2).is_empty());
        assert_eq!(split_rest(vec![2], &range, Some(&[8]), 2), [KeyRange::new([2], [5]), KeyRange::new([5], [9])]);
        assert_eq!(split_rest(vec![2], &range, None, 2), [KeyRange::new([2], [9])]);
    }
}
