//! The names of UIDs as a table: `kind`, `uid`, `name`.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};

use super::ColumnError;
use super::columns::{Columns, Found};
use crate::model::UidKind;

const KINDS: [(UidKind, &str); 3] = [(UidKind::Metric, "metric"), (UidKind::Tagk, "tagk"), (UidKind::Tagv, "tagv")];

/// Names on their way to a table.
#[derive(Debug, Default)]
pub struct NamesTable {
    kinds: StringBuilder,
    uids: BinaryBuilder,
    names: StringBuilder,
    rows: usize,
}

impl NamesTable {
    /// Adds a name.
    pub fn push(&mut self, kind: UidKind, uid: &[u8], name: &str) {
        let kind = KINDS.iter().find(|(known, _)| *known == kind).map_or("", |(_, text)| text);
        self.kinds.append_value(kind);
        self.uids.append_value(uid);
        self.names.append_value(name);
        self.rows += 1;
    }

    /// Names so far.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True without names.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The table; further names go to another one.
    ///
    /// # Errors
    /// [`ColumnError::Arrow`] when the columns do not fit each other, which would be a fault of this module.
    pub fn take(&mut self) -> Result<RecordBatch, ColumnError> {
        self.rows = 0;
        let arrays: [(&str, ArrayRef); 3] = [
            ("kind", Arc::new(self.kinds.finish())),
            ("uid", Arc::new(self.uids.finish())),
            ("name", Arc::new(self.names.finish())),
        ];
        let mut columns = Columns::new();
        arrays.into_iter().for_each(|(name, array)| columns.array(name, false, array));
        columns.table()
    }
}

/// Hands on the names of a table.
///
/// # Errors
/// [`ColumnError`] when a column is missing or a kind unknown.
pub fn each_name(table: &RecordBatch, each: &mut dyn FnMut(UidKind, &[u8], &str)) -> Result<(), ColumnError> {
    let found = Found(table);
    let (kinds, uids, names) = (found.text("kind")?, found.binary("uid")?, found.text("name")?);
    for at in 0..table.num_rows() {
        let unknown = || ColumnError::Value { column: "kind", value: kinds.value(at).to_owned() };
        let (kind, _) = KINDS.iter().find(|(_, text)| *text == kinds.value(at)).ok_or_else(unknown)?;
        each(*kind, uids.value(at), names.value(at));
    }
    Ok(())
}
