//! The parsers against the generated code as oracle, on random, cut and damaged replies.

use proptest::prelude::*;
use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TCompactInputProtocol, TCompactOutputProtocol, TFieldIdentifier,
    TInputProtocol, TListIdentifier, TMessageIdentifier, TMessageType, TOutputProtocol, TSerializable,
    TStructIdentifier, TType,
};

use crate::cluster::generated::hbase2::{
    TColumnValue, THBaseServiceSyncClient, TIOError, TResult, TScan, TTHBaseServiceSyncClient,
};
use crate::cluster::reply::scan::{ScanOutcome, ScanReply};
use crate::cluster::reply::simple::{Exception, Expected};
use crate::cluster::reply::{Binary, Compact, Fault, Input, Protocol};
use crate::model::{CellBlock, OwnedCell, kind};

const METHOD: &str = "getScannerResults";
/// The generated client's first call has this number.
const EXPECTED: Expected = Expected { method: METHOD, sequence: 1 };
const LIMIT: usize = 1 << 30;

fn write(out: &mut dyn TOutputProtocol, reply: &Result<Vec<TResult>, TIOError>) -> thrift::Result<()> {
    out.write_message_begin(&TMessageIdentifier::new(METHOD, TMessageType::Reply, EXPECTED.sequence))?;
    out.write_struct_begin(&TStructIdentifier::new("result"))?;
    match reply {
        Ok(results) => {
            out.write_field_begin(&TFieldIdentifier::new("success", TType::List, 0))?;
            out.write_list_begin(&TListIdentifier::new(TType::Struct, results.len() as i32))?;
            for result in results {
                result.write_to_out_protocol(out)?;
            }
            out.write_list_end()?;
        }
        Err(error) => {
            out.write_field_begin(&TFieldIdentifier::new("io", TType::Struct, 1))?;
            error.write_to_out_protocol(out)?;
        }
    }
    out.write_field_end()?;
    out.write_field_stop()?;
    out.write_struct_end()?;
    out.write_message_end()
}

fn encode(reply: &Result<Vec<TResult>, TIOError>, compact: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    if compact {
        write(&mut TCompactOutputProtocol::new(&mut bytes), reply).unwrap();
    } else {
        write(&mut TBinaryOutputProtocol::new(&mut bytes, true), reply).unwrap();
    }
    bytes
}

/// What the generated code makes of the bytes, when it likes them.
fn oracle(bytes: &[u8], compact: bool) -> Option<Vec<TResult>> {
    let input: Box<dyn TInputProtocol> = if compact {
        Box::new(TCompactInputProtocol::new(bytes))
    } else {
        Box::new(TBinaryInputProtocol::new(bytes, true))
    };
    let output = TBinaryOutputProtocol::new(Vec::new(), true);
    let scan = TScan::new(None, None, None, None, None, None, None, None, None, None, None);
    THBaseServiceSyncClient::new(input, output).get_scanner_results(Vec::new(), scan, 1).ok()
}

/// Feeds the bytes in pieces; `Err` is what stopped the parser.
fn parse<P: Protocol>(bytes: &[u8], piece: usize, join: bool) -> Result<(CellBlock, ScanOutcome), Fault> {
    let mut block = CellBlock::new();
    let mut reply = ScanReply::<P>::new(EXPECTED, LIMIT, join);
    let mut filled = 0;
    loop {
        let end = bytes.len().min(filled + piece);
        block.bytes_mut().extend_from_slice(&bytes[filled..end]);
        filled = end;
        match reply.advance(&mut block, filled) {
            Ok(()) if reply.end() == bytes.len() => return Ok((block, reply.finish())),
            Ok(()) => return Err(Fault::Bad { at: reply.end(), what: "trailing" }),
            Err(Fault::Short) if filled < bytes.len() => {}
            Err(fault) => return Err(fault),
        }
    }
}

fn ours(bytes: &[u8], compact: bool, piece: usize, join: bool) -> Result<(CellBlock, ScanOutcome), Fault> {
    if compact { parse::<Compact>(bytes, piece, join) } else { parse::<Binary>(bytes, piece, join) }
}

fn flat(results: &[TResult]) -> Vec<OwnedCell> {
    let cell = |row: &Vec<u8>, c: &TColumnValue| OwnedCell {
        row: row.clone(),
        family: c.family.clone(),
        qualifier: c.qualifier.clone(),
        timestamp: c.timestamp.unwrap_or_default(),
        kind: c.type_.map_or(kind::PUT, |kind| kind.cast_unsigned()),
        value: c.value.clone(),
    };
    let row = |result: &TResult| result.row.clone().unwrap_or_default();
    results.iter().flat_map(|r| r.column_values.iter().map(move |c| cell(&row(r), c))).collect()
}

fn column() -> impl Strategy<Value = TColumnValue> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    let tags = prop::option::of(prop::collection::vec(any::<u8>(), 0..3));
    let family = prop::sample::select(vec![b"t".to_vec(), b"name".to_vec(), vec![]]);
    let code = prop::option::of(any::<i8>());
    (family, bytes(), bytes(), any::<i64>(), tags, code)
        .prop_map(|(family, q, v, at, tags, code)| TColumnValue::new(family, q, v, at, tags, code))
}

fn results() -> impl Strategy<Value = Vec<TResult>> {
    let flag = || prop::option::of(any::<bool>());
    let row = prop::collection::vec(any::<u8>(), 1..6);
    let result = (row, prop::collection::vec(column(), 0..18), flag(), flag())
        .prop_map(|(row, columns, stale, partial)| TResult::new(row, columns, stale, partial));
    prop::collection::vec(result, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn agrees_with_the_generated_code(results in results(), compact: bool, piece in 1usize..300, join: bool) {
        let bytes = encode(&Ok(results.clone()), compact);
        prop_assert_eq!(oracle(&bytes, compact), Some(results.clone()));
        let (block, outcome) = ours(&bytes, compact, piece, join).unwrap();
        prop_assert_eq!(block.iter().map(|cell| cell.to_owned()).collect::<Vec<_>>(), flat(&results));
        prop_assert_eq!(outcome.results, results.len());
        let partial = results.last().is_some_and(|last| last.partial == Some(true));
        prop_assert_eq!(outcome.last_partial, partial);
        let untyped = results.iter().flat_map(|result| &result.column_values).any(|column| column.type_.is_none());
        prop_assert_eq!(outcome.untyped, untyped);
        if !join {
            prop_assert_eq!(block.row_count(), results.len());
        }
    }

    #[test]
    fn a_cut_reply_is_short(results in results(), compact: bool, cut in any::<prop::sample::Index>()) {
        let bytes = encode(&Ok(results), compact);
        let cut = cut.index(bytes.len());
        prop_assert_eq!(ours(&bytes[..cut], compact, 64, false).err(), Some(Fault::Short));
    }
}

#[test]
fn an_exception_is_read() {
    for compact in [false, true] {
        let error = TIOError::new("no luck".to_owned(), true);
        let (block, outcome) = ours(&encode(&Err(error), compact), compact, 5, false).unwrap();
        let expected = Exception::Io { message: "no luck".into(), can_retry: Some(true) };
        assert_eq!((block.row_count(), outcome.exception), (0, Some(expected)));
    }
}

#[test]
fn another_answer_is_refused() {
    let bytes = encode(&Ok(Vec::new()), false);
    let at = bytes.windows(METHOD.len()).position(|window| window == METHOD.as_bytes()).unwrap();
    for place in [at, at + METHOD.len() + 3] {
        let mut other = bytes.clone();
        other[place] ^= 1;
        assert!(matches!(ours(&other, false, 999, false), Err(Fault::Bad { .. })));
    }
}

#[test]
fn pieces_of_a_row_are_joined() {
    let piece = |row: &str, n: u8, partial| {
        let column = TColumnValue::new(b"t".to_vec(), vec![n], vec![], 1, None, None);
        TResult::new(row.as_bytes().to_vec(), vec![column], None, partial)
    };
    let bytes = encode(&Ok(vec![piece("a", 1, true), piece("a", 2, false), piece("b", 1, true)]), false);
    for step in 1..40 {
        let (block, outcome) = ours(&bytes, false, step, true).unwrap();
        assert_eq!((block.row_count(), block.cell_count(), outcome.results), (2, 3, 3));
        assert!(outcome.last_partial);
    }
}

/// Deep nesting must end in an error, not in a full stack.
#[test]
fn nesting_is_limited() {
    let mut bytes = encode(&Ok(Vec::new()), false);
    bytes.truncate(bytes.len() - 1 - 8);
    bytes.extend([12, 0, 9].repeat(10_000));
    assert!(matches!(ours(&bytes, false, 1 << 20, false), Err(Fault::Bad { what: "nested too deeply", .. })));
}

/// Damaged replies: never a panic, and where both parsers are content they agree. `TSDB_ARK_FUZZ` multiplies.
#[test]
fn damaged_replies_do_no_harm() {
    let rounds = std::env::var("TSDB_ARK_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(1u64) * 20_000;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    let column = |n: u8| TColumnValue::new(b"t".to_vec(), vec![n; 3], vec![n; 9], i64::from(n) << 30, None, 4);
    let results: Vec<TResult> =
        (0..4).map(|n| TResult::new(vec![n; 4], (0..5).map(column).collect(), false, false)).collect();
    let whole = [encode(&Ok(results.clone()), false), encode(&Ok(results), true)];
    let mut both = 0;
    for _ in 0..rounds {
        let compact = random(2) == 1;
        let mut bytes = whole[usize::from(compact)].clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random(5)],
                1 => bytes[at] ^= 1 << random(8),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, random(256) as u8),
            }
        }
        let (found, join) = (oracle(&bytes, compact), random(2) == 1);
        if let (Ok((block, outcome)), Some(results)) = (ours(&bytes, compact, 1 + random(400), join), found)
            && outcome.exception.is_none()
        {
            assert!(block.iter().map(|cell| cell.to_owned()).eq(flat(&results)), "{bytes:02x?}");
            both += 1;
        }
    }
    assert!(both > rounds / 20, "the damage leaves too little to compare: {both}");
}

/// `cargo test --release -- --ignored --nocapture parses_fast`
#[test]
#[ignore = "a measurement"]
fn parses_fast() {
    for (rows, cells) in [(1_000, 360), (20_000, 1)] {
        let column = |n: i32| {
            TColumnValue::new(b"t".to_vec(), n.to_be_bytes()[2..].to_vec(), vec![7; 4], 1_700_000_000_000, None, 4)
        };
        let result = |row: i32| {
            TResult::new([&row.to_be_bytes()[..], &[9; 9]].concat(), (0..cells).map(column).collect(), false, false)
        };
        let results: Vec<TResult> = (0..rows).map(result).collect();
        for compact in [false, true] {
            let bytes = encode(&Ok(results.clone()), compact);
            let mut block = CellBlock::new();
            let mut best = f64::MAX;
            for _ in 0..15 {
                block.clear();
                block.bytes_mut().extend_from_slice(&bytes);
                let started = std::time::Instant::now();
                if compact {
                    ScanReply::<Compact>::new(EXPECTED, LIMIT, false).advance(&mut block, bytes.len()).unwrap();
                } else {
                    ScanReply::<Binary>::new(EXPECTED, LIMIT, false).advance(&mut block, bytes.len()).unwrap();
                }
                best = best.min(started.elapsed().as_secs_f64());
            }
            let count = block.cell_count() as f64;
            println!(
                "{rows} x {cells}, compact {compact}: {:.1} M cells/s, {:.0} MB/s",
                count / best / 1e6,
                bytes.len() as f64 / best / 1e6
            );
        }
    }
}

#[test]
fn a_message_above_the_limit_is_read_on_and_a_lie_is_not() {
    let input = || Input::new(&[0; 100], 90, 100);
    for (bytes, expected) in [(10, Ok(())), (12, Err(Fault::Short)), (100, Err(Fault::Short))] {
        assert_eq!(input().take(bytes).map(|_| ()), expected);
        assert_eq!(input().count(bytes as u64 / 2, 2).map(|_| ()), expected);
    }
    assert!(matches!(input().take(101), Err(Fault::Bad { .. })));
    assert!(matches!(input().count(51, 2), Err(Fault::Bad { .. })));
}
