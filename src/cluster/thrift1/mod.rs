//! The fallback for clusters whose gateways speak Thrift1 alone, through the generated client of `hbase-thrift`.
//!
//! What Thrift1 can carry is less than what a table holds:
//!
//! | | through Thrift1 |
//! |---|---|
//! | reading | the latest version of each cell with its timestamp; no delete markers, no hidden versions |
//! | writing | one timestamp per call, so cells are grouped by it and each group is a call: exact, but slow |
//! | deleting | not with a marker's own kind: refused |
//! | descriptors | VERSIONS, COMPRESSION, IN_MEMORY, BLOOMFILTER, BLOCKCACHE, TTL |
//! | creating | no split keys; refused unless everything else is HBase's default |
//!
//! A page opens a scanner, fetches from it and closes it, all on one connection. A scanner's id is never used on
//! another connection, where it may name somebody else's scanner, and never fetched from after an error, because the
//! gateway drops the rows of a failed fetch.

mod calls;
mod fault;
mod input;
mod once;
mod page;
mod put;
mod tables;

pub(crate) use calls::Generated;
pub(crate) use put::by_timestamp;
pub(crate) use tables::lost;
