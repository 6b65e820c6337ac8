//! Texts about tables that several reports share: counts, gaps, the layout of row keys.

use tsdb_ark::flow::{TableReport, WindowRecord};
use tsdb_ark::model::{KeyLayout, time::text_time};

use crate::cli::columns::{Columns, Side};
use crate::cli::units;

/// What a window is of, a line.
pub fn window_text(window: &WindowRecord) -> String {
    let mut text = match window.metrics.as_slice() {
        [] => "window of all metrics".to_owned(),
        metrics => format!("window of {}", metrics.join(", ")),
    };
    for tag in &window.tags {
        text += &format!(", {}={}", tag.key, tag.value);
    }
    text += &window.from_ms.map(|from| format!(", from {}", text_time(from))).unwrap_or_default();
    text += &window.to_ms.map(|to| format!(", to {}", text_time(to))).unwrap_or_default();
    if !window.left_out.is_empty() {
        text += &format!("; not in it: {}", window.left_out.join(", "));
    }
    text + "\n"
}

/// Tables with their counts and a sum.
pub fn table_columns(tables: &[TableReport]) -> Columns {
    let mut columns = Columns::new(&[
        ("table", Side::Left),
        ("kind", Side::Left),
        ("shards", Side::Right),
        ("rows", Side::Right),
        ("cells", Side::Right),
        ("points", Side::Right),
        ("raw cells", Side::Right),
        ("bytes", Side::Right),
        ("written", Side::Right),
        ("checksum", Side::Left),
    ]);
    for table in tables {
        columns.row([
            table.table.clone(),
            format!("{:?}", table.kind).to_lowercase(),
            units::count(table.shards),
            units::count(table.tally.rows),
            units::count(table.tally.cells),
            units::count(table.tally.points),
            units::count(table.raw_cells),
            units::size(table.tally.bytes),
            units::size(table.bytes_written),
            format!("{:016x}", table.tally.checksum),
        ]);
    }
    let sum = |of: fn(&TableReport) -> u64| tables.iter().map(of).fold(0, u64::saturating_add);
    columns.row([
        "all".to_string(),
        String::new(),
        units::count(sum(|t| t.shards)),
        units::count(sum(|t| t.tally.rows)),
        units::count(sum(|t| t.tally.cells)),
        units::count(sum(|t| t.tally.points)),
        units::count(sum(|t| t.raw_cells)),
        units::size(sum(|t| t.tally.bytes)),
        units::size(sum(|t| t.bytes_written)),
        String::new(),
    ]);
    columns
}

/// A line for each gap.
pub fn gap_lines(tables: &[TableReport]) -> String {
    let mut text = String::new();
    for table in tables {
        for gap in &table.gaps {
            let stop = if gap.stop.is_empty() { "end" } else { &gap.stop };
            text +=
                &format!("gap in {}: [{}, {stop}), {}: {}\n", table.table, gap.start, gap.reason.words(), gap.message);
        }
    }
    text
}

/// UID widths and salt in one line.
pub fn layout_text(layout: &KeyLayout, from: &str) -> String {
    format!(
        "row keys: metric {}, tagk {}, tagv {} bytes, {} ({from})",
        layout.metric_width,
        layout.tagk_width,
        layout.tagv_width,
        salt_text(layout)
    )
}

/// The salt in a few words.
pub fn salt_text(layout: &KeyLayout) -> String {
    match layout.salt_width {
        0 => "no salt".to_string(),
        width => format!("salt {width} with {} buckets", layout.salt_buckets),
    }
}
