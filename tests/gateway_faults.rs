//! What a backup and a restore make of every fault of a gateway, a region server and the network between: what was done
//! to them, what they did, how they ended and what they said. Each test prints its part of the table
//! (`cargo test --test gateway_faults -- --nocapture`).
//!
//! Cases that take minutes run with `TSDB_ARK_SLOW=1` only.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helper functions too")]

mod support;

#[path = "gateway_faults/backup.rs"]
mod backup;
#[path = "gateway_faults/cluster.rs"]
mod cluster;
#[path = "gateway_faults/gaps.rs"]
mod gaps;
#[path = "gateway_faults/identity.rs"]
mod identity;
#[path = "gateway_faults/matrix.rs"]
mod matrix;
#[path = "gateway_faults/protocols.rs"]
mod protocols;
#[path = "gateway_faults/restore.rs"]
mod restore;
#[path = "gateway_faults/scene.rs"]
mod scene;
#[path = "gateway_faults/upheaval.rs"]
mod upheaval;
