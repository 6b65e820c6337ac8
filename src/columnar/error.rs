//! Columns that do not fit.

use crate::model::Retry;

/// Columns that contradict each other or the vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    /// A column is not there, or of another type.
    #[error("column {0} is missing or of another type")]
    Column(&'static str),
    /// A value that cannot be.
    #[error("column {column} holds {value}, which no writer puts there")]
    Value {
        /// The column.
        column: &'static str,
        /// The value.
        value: String,
    },
    /// Columns of one row disagree.
    #[error("{0}")]
    Contradiction(&'static str),
    /// More cells than a block holds.
    #[error(transparent)]
    Space(#[from] crate::model::OutOfSpace),
    /// Arrow refuses the columns; a fault of the program.
    #[error("the columns do not form a table: {0}; please report this")]
    Arrow(String),
}

impl ColumnError {
    /// The same columns never fit.
    pub fn retry(&self) -> Retry {
        Retry::Permanent
    }
}
