//! The columns of a points file.

use std::sync::Arc;

use parquet::schema::parser::parse_message_type;
use parquet::schema::types::TypePtr;

use super::FileError;

/// Places of the columns, in the order of [`SCHEMA`].
pub(super) mod at {
    pub(in crate::parquet_file) const TABLE: usize = 0;
    pub(in crate::parquet_file) const METRIC: usize = 1;
    pub(in crate::parquet_file) const TAGS: usize = 2;
    pub(in crate::parquet_file) const SERIES_ID: usize = 3;
    pub(in crate::parquet_file) const TSUID: usize = 4;
    pub(in crate::parquet_file) const FORM: usize = 5;
    pub(in crate::parquet_file) const TIMESTAMP: usize = 6;
    pub(in crate::parquet_file) const VALUE_INT: usize = 7;
    pub(in crate::parquet_file) const VALUE_FLOAT: usize = 8;
    pub(in crate::parquet_file) const FLAGS: usize = 9;
    pub(in crate::parquet_file) const EXACT: usize = 10;
    pub(in crate::parquet_file) const SUPERSEDED: usize = 11;
    pub(in crate::parquet_file) const WRITTEN: usize = 12;
    pub(in crate::parquet_file) const WRITE_DELAY: usize = 13;
}

/// Exactly one of `value_int` and `value_float`, and exactly one of `written` and `write_delay` is set in every row.
const SCHEMA: &str = "message points {
    REQUIRED BYTE_ARRAY table (STRING);
    OPTIONAL BYTE_ARRAY metric (STRING);
    REQUIRED BYTE_ARRAY tags (STRING);
    REQUIRED INT64 series_id;
    REQUIRED BYTE_ARRAY tsuid (STRING);
    REQUIRED INT32 form;
    REQUIRED INT64 timestamp (TIMESTAMP(MILLIS,true));
    OPTIONAL INT64 value_int;
    OPTIONAL DOUBLE value_float;
    REQUIRED INT32 flags;
    REQUIRED BOOLEAN exact;
    REQUIRED BOOLEAN superseded;
    OPTIONAL INT64 written (TIMESTAMP(MILLIS,true));
    OPTIONAL INT64 write_delay;
}";

pub(super) fn schema() -> Result<TypePtr, FileError> {
    parse_message_type(SCHEMA).map(Arc::new).map_err(FileError::Encode)
}
