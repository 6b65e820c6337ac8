//! Regions to shards: even pieces of work from a list of regions whose sizes no gateway tells.
//!
//! There is no region size in either Thrift API, so work is evened out in two steps. Before the scan each region is
//! probed with three cheap calls ([`probe`]): how many rows it has at least, its first and its last row. [`plan`] joins
//! neighbours that are small and cuts the others between their first and last row. During the scan a shard that runs
//! long ends at a row boundary and what is left of its range becomes new shards ([`split_rest`]), so that a
//! wrong guess costs nothing but a smaller file. Of the shards that several runs have left, [`tile`] chooses those that
//! cover a table once.

mod cover;
mod cut;
mod plan;
mod probe;
mod tile;

pub use cover::{clip, uncovered};
pub use cut::{between, cut, split_rest};
pub use plan::{host_of, plan};
pub use probe::{RegionProbe, SMALL_REGION_ROWS, last_row, probe};
pub use tile::{Piece, Tiling, tile};
