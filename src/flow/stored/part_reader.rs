//! Readers of the files of a backup: of whole files, which are checked by their hash, or of the part of a file that is
//! wanted, which is checked block by block.

use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::flow::FlowError;
use crate::model::FileRow;
use crate::parquet_file::{CellReader, FilePart, PointsReader};
use crate::store::StoreError;

use super::backup_files::{ReadTools, fetch};
use super::kept_parts::KeptParts;
use super::selected::Chooser;

/// A smaller file is read whole: a part takes three requests, one after the other.
const WHOLE_BYTES: u64 = 64 << 10;
/// Requests for ranges of one file at a time.
const REQUESTS: usize = 8;

/// A reader of a points file, of what a chooser wants and some points beside.
///
/// # Errors
/// The store's; [`FlowError::Damaged`] for a file that is missing or not the one that was written.
pub fn points_reader(
    tools: ReadTools<'_>,
    file: &FileRow,
    wanted: Option<&mut Chooser<'_>>,
) -> Result<PointsReader, FlowError> {
    match wanted.filter(|_| file.size > WHOLE_BYTES) {
        None => Ok(PointsReader::open_recorded(whole(tools, file)?, file.rows)?),
        Some(wanted) => {
            let kept = wanted.kept();
            part(tools, file, kept)?.points(wanted, &mut |ranges| fetch_ranges(tools, file, ranges, kept))
        }
    }
}

/// A reader of any other file with cells, of what a chooser wants and some cells beside.
///
/// # Errors
/// As [`points_reader`].
pub fn cell_reader(
    tools: ReadTools<'_>,
    file: &FileRow,
    wanted: Option<&Chooser<'_>>,
) -> Result<CellReader, FlowError> {
    match wanted.filter(|_| file.size > WHOLE_BYTES) {
        None => Ok(CellReader::open(whole(tools, file)?, file.rows)?),
        Some(wanted) => {
            let kept = wanted.kept();
            part(tools, file, kept)?.cells(wanted, &mut |ranges| fetch_ranges(tools, file, ranges, kept))
        }
    }
}

fn whole(tools: ReadTools<'_>, file: &FileRow) -> Result<Bytes, FlowError> {
    let bytes = fetch(tools.threads, tools.store, file)?;
    tools.progress.fetched(bytes.len() as u64);
    Ok(bytes)
}

fn part(tools: ReadTools<'_>, file: &FileRow, kept: &KeptParts) -> Result<FilePart, FlowError> {
    let footer = file.size.saturating_sub(file.footer_size)..file.size;
    let footer = fetch_ranges(tools, file, &[footer], kept)?.pop().unwrap_or_default();
    let found = blake3::hash(&footer).to_hex();
    if found.as_str() != file.footer_blake3 {
        let recorded = &file.footer_blake3;
        return Err(changed(format!("the hash of its footer is {found} instead of {recorded}")));
    }
    Ok(FilePart::open(footer, file.size, file.rows)?)
}

fn fetch_ranges(
    tools: ReadTools<'_>,
    file: &FileRow,
    ranges: &[Range<u64>],
    kept: &KeptParts,
) -> Result<Vec<Bytes>, FlowError> {
    let get = |range: Range<u64>| async move {
        if let Some(known) = kept.get(file, &range) {
            return Ok(known);
        }
        let bytes = tools.store.get_range(&file.path, range.clone()).await?;
        tools.progress.fetched(bytes.len() as u64);
        kept.put(file, &range, &bytes);
        Ok(bytes)
    };
    let all = async {
        let requests = stream::iter(ranges.iter().cloned().map(get).collect::<Vec<_>>());
        let found: Result<Vec<Bytes>, StoreError> = requests.buffered(REQUESTS).try_collect().await;
        match found {
            Ok(found) => Ok(Ok(found)),
            Err(error) if error.is_not_found() => Ok(Err("is missing".to_owned())),
            // A file that was cut short has no such range.
            Err(error) => match tools.store.size(&file.path).await {
                Ok(Some(size)) if size != file.size => Ok(Err(format!("has {size} bytes instead of {}", file.size))),
                _ => Err(error),
            },
        }
    };
    tools.threads.wait(all)?.map_err(changed)
}

fn changed(problem: String) -> FlowError {
    FlowError::damaged(format!("{problem}; run verify --level files"))
}
