//! What the texts of Java's exceptions say: messages with stacks and causes behind them.

use crate::model::Retry;

/// The first line, without the Java stack, and of bearable length.
pub(super) fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no text");
    let line: String = line.chars().take(500).collect();
    line.trim_end().to_owned()
}

/// Whether a text says that HBase fails at the rows themselves, and then whether another try may help. A row with a
/// negative timestamp fails each time; a file is read once more, because a region may just have been closed.
pub(super) fn unreadable(text: &str) -> Option<Retry> {
    let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    if has(&["OutOfOrderScannerNextException", "Timestamp cannot be negative"]) {
        return Some(Retry::Permanent);
    }
    // Frames of the stack below which only files are read.
    let files = ["org.apache.hadoop.hbase.io.hfile.", "regionserver.StoreFileScanner.", "CorruptHFileException"];
    (has(&files) && !text.contains("NotServingRegionException")).then_some(Retry::Transient)
}

/// The line that says most: where HBase's client gave up, its first line says only that it did.
pub(super) fn reason_line(text: &str) -> String {
    let first = first_line(text);
    if !first.starts_with("Failed after attempts=") {
        return first;
    }
    let lines = || text.lines().map(str::trim);
    let cause = lines().find_map(|line| line.strip_prefix("Caused by: "));
    let last_try = || lines().skip(1).find_map(|line| line.split_once(", ").map(|(_, what)| what));
    cause
        .or_else(last_try)
        .map_or_else(|| first.clone(), |cause| format!("{} {cause}", first.trim_end_matches(", exceptions:")))
}
