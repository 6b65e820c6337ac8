//! The headers of pages, looked at before the library reads the pages: it makes room for as many bytes as a header
//! claims.

use std::ops::Range;

use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;

use super::FileError;
use super::encodings::varint;

/// No page of a writer is larger when it is decompressed: a page has one value at least, and no gateway's reply is larger.
const MOST_BYTES: i64 = 1 << 30;
/// Structures within structures that a header may have; it has three.
const DEPTH: u32 = 8;

/// Checks the pages of the columns that `wanted` chooses by their places.
pub(super) fn check_pages<R: ChunkReader>(
    source: &R,
    file: &ParquetMetaData,
    wanted: impl Fn(usize) -> bool,
) -> Result<(), FileError> {
    walk(source, file, wanted, |_, _| ())
}

/// Columns and the places of their pages' bodies in the file.
#[cfg(test)]
pub(crate) fn page_bodies(file: &bytes::Bytes) -> Vec<(String, Range<usize>)> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let reader = SerializedFileReader::new(file.clone()).unwrap();
    let mut bodies = Vec::new();
    walk(file, reader.metadata(), |_| true, |column, body| bodies.push((column.to_owned(), body))).unwrap();
    bodies
}

fn walk<R: ChunkReader>(
    source: &R,
    file: &ParquetMetaData,
    wanted: impl Fn(usize) -> bool,
    mut each: impl FnMut(&str, Range<usize>),
) -> Result<(), FileError> {
    for column in file.row_groups().iter().flat_map(|group| group.columns().iter().enumerate()) {
        let (place, chunk) = column;
        if !wanted(place) {
            continue;
        }
        let name = chunk.column_path().string();
        // `byte_range` panics on negative numbers, which is caught above.
        let (start, length) = chunk.byte_range();
        let end = start.checked_add(length).filter(|end| *end <= source.len());
        end.ok_or_else(|| bad("lies outside the file"))?;
        let length = usize::try_from(length).map_err(|_| bad("lies outside the file"))?;
        let bytes = source.get_bytes(start, length).map_err(FileError::Damaged)?;
        let base = usize::try_from(start).unwrap_or(usize::MAX);
        walk_chunk(&bytes, &mut |body| {
            each(&name, base.saturating_add(body.start)..base.saturating_add(body.end));
        })?;
    }
    Ok(())
}

/// Checks pages that lie one behind the other.
pub(super) fn check_chunk(bytes: &[u8]) -> Result<(), FileError> {
    walk_chunk(bytes, &mut |_| ())
}

fn walk_chunk(bytes: &[u8], each: &mut dyn FnMut(Range<usize>)) -> Result<(), FileError> {
    let mut at = 0;
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let (header, decompressed, compressed) = page_header(rest).ok_or_else(|| bad("cannot be read"))?;
        if !(0..=MOST_BYTES).contains(&decompressed) {
            return Err(bad(&format!("claims {decompressed} bytes")));
        }
        let body = at + header;
        let next = usize::try_from(compressed).ok().and_then(|size| body.checked_add(size));
        let next = next.filter(|next| *next <= bytes.len()).ok_or_else(|| bad("claims more bytes than there are"))?;
        each(body..next);
        at = next;
    }
    Ok(())
}

fn bad(what: &str) -> FileError {
    FileError::Damaged(ParquetError::General(format!("a page header {what}")))
}

/// Length of a header, and the decompressed and the compressed size that it claims.
fn page_header(bytes: &[u8]) -> Option<(usize, i64, i64)> {
    let mut header = Compact { bytes, at: 0 };
    let (mut field, mut sizes) = (0, (None, None));
    while let Some(kind) = header.field(&mut field)? {
        match (field, kind) {
            (2, 5) => sizes.0 = Some(header.number()?),
            (3, 5) => sizes.1 = Some(header.number()?),
            _ => header.skip(kind, DEPTH)?,
        }
    }
    Some((header.at, sizes.0?, sizes.1?))
}

/// Thrift's compact protocol, as far as it takes to pass over a structure.
struct Compact<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut rest = self.bytes.get(self.at..)?;
        let number = varint(&mut rest)?;
        self.at = self.bytes.len() - rest.len();
        Some(number)
    }

    fn number(&mut self) -> Option<i64> {
        let zigzag = self.varint()?;
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// The type of the next field of a structure; `Some(None)` at its end.
    fn field(&mut self, number: &mut i64) -> Option<Option<u8>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Some(None);
        }
        *number = match byte >> 4 {
            0 => self.number()?,
            delta => number.checked_add(i64::from(delta))?,
        };
        Some(Some(byte & 0x0f))
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        let end = self.at.checked_add(usize::try_from(bytes).ok()?).filter(|end| *end <= self.bytes.len())?;
        self.at = end;
        Some(())
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            // In a structure the type of a boolean is its value.
            1 | 2 => Some(()),
            3 => self.pass(1),
            4..=6 => self.varint().map(drop),
            7 => self.pass(8),
            8 => {
                let length = self.varint()?;
                self.pass(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.varint()?,
                    count => u64::from(count),
                };
                for _ in 0..count {
                    match head & 0x0f {
                        1 | 2 => self.pass(1)?,
                        kind => self.skip(kind, depth)?,
                    }
                }
                Some(())
            }
            12 => {
                let mut number = 0;
                while let Some(kind) = self.field(&mut number)? {
                    self.skip(kind, depth)?;
                }
                Some(())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data page of 5 values: type, decompressed and compressed size, then a structure, a text and a list to skip.
    fn header(decompressed: &[u8]) -> Vec<u8> {
        [
            &[0x15, 0x00, 0x15][..],
            decompressed,
            &[0x15, 0x06, 0x2c, 0x15, 0x0a, 0x18, 0x02, 1, 2, 0x19, 0x25, 2, 4, 0, 0],
        ]
        .concat()
    }

    #[test]
    fn headers_say_how_large_their_pages_are() {
        let bytes = header(&[0x08]);
        assert_eq!(page_header(&[&bytes[..], b"rest"].concat()), Some((bytes.len(), 4, 3)));
        let huge = header(&[0xfe, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(page_header(&huge).map(|(_, decompressed, _)| decompressed), Some(i64::from(i32::MAX)));
        for end in 0..bytes.len() {
            assert_eq!(page_header(&bytes[..end]), None, "{end}");
        }
        // A list of 2^60 structures ends with the bytes; so do structures within structures without end.
        let list =
            [&bytes[..bytes.len() - 1], &[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
        assert_eq!(page_header(&list), None);
        assert_eq!(page_header(&[0x1c; 10_000]), None);
    }
}
