//! How long decode and proof take per million points. Run in release:
//! `cargo test --release --lib codec::tests::bench -- --ignored --nocapture`.

use std::time::Instant;

use super::support::*;
use crate::codec::{Decoder, prove};
use crate::model::{CellBlock, KeyLayout, TableKind, Tally, TypedRows};

const POINTS: usize = 1_000_000;

/// 360 points per row, every 10 s.
fn rows(compacted: bool, flags: &[u8]) -> CellBlock {
    let (mut dice, mut block) = (Dice::new(5), CellBlock::new());
    for row in 0..POINTS / 360 {
        let mut key = hex(KEY);
        key[3..7].copy_from_slice(&(1_356_998_400 + row as u32 / 100 * 3600).to_be_bytes());
        key[12] = (row % 100) as u8;
        block.push_row(&key).unwrap();
        let (mut qualifier, mut value) = (Vec::new(), Vec::new());
        for point in 0..360_u16 {
            let flags = *dice.pick(flags);
            let q = ((point * 10) << 4 | u16::from(flags)).to_be_bytes();
            let mut v = dice.bytes(usize::from(flags & 7) + 1);
            if flags & 8 != 0 {
                v[0] = 0x40;
            }
            if compacted {
                qualifier.extend(q);
                value.extend(v);
            } else {
                block.push_cell(b"t", &q, 1_400_000_000_000 + i64::from(point), 4, &v).unwrap();
            }
        }
        if compacted {
            value.push(0);
            block.push_cell(b"t", &qualifier, 1_400_000_000_000, 4, &value).unwrap();
        }
    }
    block
}

#[test]
#[ignore = "a measurement"]
fn decode_and_prove() {
    for (name, flags) in [
        ("ints", &[0_u8, 1, 3][..]),
        ("floats", &[0xB, 0xF]),
        ("mixed", &[0, 1, 0xB, 0xF]),
        ("bytes", &[0]),
        ("doubles", &[0xF]),
    ] {
        for compacted in [true, false] {
            let block = rows(compacted, flags);
            let (mut decode, mut proof) = (f64::MAX, f64::MAX);
            let mut decoder = Decoder::new(TableKind::Data, KeyLayout::default(), None);
            let (mut out, mut tally) = (TypedRows::default(), Tally::default());
            for _ in 0..25 {
                let start = Instant::now();
                block.rows().for_each(|row| decoder.row(row, &mut out, &mut tally));
                decode = decode.min(start.elapsed().as_secs_f64());
                let start = Instant::now();
                let proven = prove(&out.points, &KeyLayout::default().into()).unwrap();
                proof = proof.min(start.elapsed().as_secs_f64());
                assert_eq!(proven.cells as usize, block.cell_count());
                decoder.take_points(&mut out);
            }
            let form = if compacted { "compacted" } else { "single" };
            println!("{name:7} {form:9} decode+tally {decode:.4} s/M  prove {proof:.4} s/M");
        }
    }
}
