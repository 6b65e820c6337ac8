//! Rows of every typed table around given cells, for tests.

use crate::model::{
    Annotation, Histogram, HistogramBucket, MetaRow, OwnedCell, Rollup, RollupValue, TreeRow, TypedRows, UidKind,
    UidRow,
};

/// One row of each table per cell; optional columns are set in every other row.
pub(crate) fn samples(cells: &[OwnedCell]) -> TypedRows {
    let mut rows = TypedRows::default();
    for (index, cell) in cells.iter().enumerate() {
        let odd = index % 2 == 1;
        let text = |name: &str| odd.then(|| format!("{name} {index} ü"));
        let tsuid = format!("{:06X}", index % 3);
        rows.annotations.push(Annotation {
            cell: cell.clone(),
            tsuid: odd.then(|| tsuid.clone()),
            start_ms: odd.then_some(1_700_000_000_000),
            end_ms: None,
            description: text("description"),
            notes: text("notes"),
            custom: text("custom"),
        });
        let bucket = |n: usize| HistogramBucket { lower: n as f32, upper: n as f32 + 1.0, count: n as i64 };
        rows.histograms.push(Histogram {
            cell: cell.clone(),
            tsuid: tsuid.clone(),
            timestamp: 1_700_000_000_000,
            codec: odd.then_some(0),
            buckets: (0..index % 4).map(bucket).collect(),
            underflow: odd.then_some(1),
            overflow: None,
        });
        rows.rollups.push(Rollup {
            cell: cell.clone(),
            tsuid: tsuid.clone(),
            aggregator_id: odd.then_some(2),
            aggregator: text("sum"),
            base: 1_700_000_000,
            interval_number: index as u16,
            timestamp: odd.then_some(1_700_000_000_000),
            value: [None, Some(RollupValue::Int(-3)), Some(RollupValue::Float(0.5))][index % 3],
        });
        rows.uids.push(UidRow {
            cell: cell.clone(),
            role: "forward",
            kind: odd.then_some(UidKind::Tagk),
            uid: text("uid"),
            name: text("name"),
            counter: odd.then_some(7),
            json: None,
        });
        rows.meta.push(MetaRow { cell: cell.clone(), tsuid, role: "ts_meta", counter: None, json: text("json") });
        rows.tree.push(TreeRow { cell: cell.clone(), tree: odd.then_some(1), role: "leaf", text: text("text") });
    }
    rows
}
