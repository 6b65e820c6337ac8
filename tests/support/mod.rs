//! What the tests against real servers share: the test bed, TSDs, bytes of a real OpenTSDB, and a workload.
//!
//! A test file says `mod support;` and asks [`bed::Bed::shared`] for a cluster. A bed that does not start fails the test.
#![allow(dead_code, reason = "each test binary uses its own part of this module")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a broken test bed fails the test")]

pub mod answers;
pub mod ark;
pub mod bed;
pub mod faults;
pub mod golden;
pub mod http;
pub mod s3;
pub mod sql;
pub mod synthetic;
pub mod tsd;
pub mod workload;

/// Whether cases that take minutes run too.
pub fn is_slow() -> bool {
    std::env::var("TSDB_ARK_SLOW").is_ok_and(|value| value == "1")
}
