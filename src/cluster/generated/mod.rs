//! Generated from `thrift/hbase2.thrift` by `scripts/generate-thrift.sh`; nothing here is written by hand.

#[rustfmt::skip]
#[allow(missing_docs, unused, unexpected_cfgs, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(crate) mod hbase2;
