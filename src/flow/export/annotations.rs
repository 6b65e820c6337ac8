//! Annotations beside the points of a table.

use crate::codec::tags_of_json;
use crate::flow::export::formats::annotation_lines;
use crate::flow::export::output::Folder;
use crate::flow::export::plan::ExportFormat;
use crate::flow::export::source::Reader;
use crate::flow::stored::backup_files::BackupContents;
use crate::flow::{Cancel, FlowError, Selection};
use crate::model::{FileKind, PlainAnnotation};
use crate::parquet_file::{Profile, annotations_file, read_annotations};

/// Writes the wanted annotations of a table, a file for each file of the backup that holds any; returns their number.
///
/// # Errors
/// The store's; [`FlowError::Damaged`]; [`FlowError::Interrupted`].
pub fn write(
    reader: &Reader,
    contents: &BackupContents,
    table: &str,
    (format, profile): (ExportFormat, Profile),
    folder: &mut Folder,
    cancel: &Cancel,
) -> Result<u64, FlowError> {
    let mut written = 0;
    for file in contents.files_of(table).filter(|file| file.kind == FileKind::Annotations) {
        if cancel.is_set() {
            return Err(FlowError::Interrupted);
        }
        let mut rows = read_annotations(reader.fetch(file)?)?;
        rows.retain(|row| is_wanted(row, &reader.selection));
        if rows.is_empty() {
            continue;
        }
        let content = match format {
            ExportFormat::Csv => annotation_lines(&rows)?,
            _ => annotations_file(&rows, profile)?,
        };
        folder.put(format!("annotations/part-{:05}.{}", folder.files, format.extension()), content)?;
        written += rows.len() as u64;
    }
    Ok(written)
}

/// A global one belongs to no series, so it is wanted where no series are chosen. One without a time is of any.
fn is_wanted(row: &PlainAnnotation, selection: &Selection) -> bool {
    let time = row.start_ms.or(row.end_ms);
    let tags = row.tags_json.as_deref().map(tags_of_json).unwrap_or_default();
    time.is_none_or(|ms| selection.meets(ms, row.end_ms.unwrap_or(ms).max(ms)))
        && selection.has_metric(row.metric.as_deref())
        && selection.has_tags(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::NamePattern;

    #[test]
    fn annotations_are_chosen_like_their_series_and_by_their_time() {
        let row = PlainAnnotation {
            tsuid: Some("00".into()),
            metric: Some("m".into()),
            tags_json: Some("{\"host\":\"a\"}".into()),
            start_ms: Some(1000),
            end_ms: Some(3000),
            description: None,
            notes: None,
            custom: None,
        };
        let global = PlainAnnotation { tsuid: None, metric: None, tags_json: None, ..row.clone() };
        let pattern = |text| NamePattern::new(text).unwrap();
        let all = Selection::default();
        let metric = |text| Selection { metrics: vec![pattern(text)], ..Selection::default() };
        let tag = |text| Selection { tags: vec![("host".into(), pattern(text))], ..Selection::default() };
        let time = |from, to| Selection { from_ms: Some(from), to_ms: Some(to), ..Selection::default() };
        assert!(is_wanted(&row, &all) && is_wanted(&global, &all));
        assert!(is_wanted(&row, &metric("m")) && !is_wanted(&row, &metric("x")) && !is_wanted(&global, &metric("*")));
        assert!(is_wanted(&row, &tag("a")) && !is_wanted(&row, &tag("b")) && !is_wanted(&global, &tag("a")));
        assert!(
            is_wanted(&row, &time(3000, 4000))
                && !is_wanted(&row, &time(3001, 4000))
                && !is_wanted(&row, &time(0, 1000))
        );
    }
}
