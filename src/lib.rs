//! tsdb-ark backs up, restores and verifies a whole OpenTSDB that lives on HBase.

pub mod cluster;
pub mod codec;
pub mod columnar;
pub mod flow;
pub mod manifest;
pub mod model;
pub mod parquet_file;
pub mod put;
pub mod scan;
pub mod shard;
pub mod store;
