//! What the cluster looks like: its gateways, tables and their descriptors, UIDs, layout, and what cannot be read of it.

pub mod by_time;
pub mod descriptions;
pub mod detect;
pub mod gaps;
pub mod names;
pub mod opentsdb_conf;
pub mod preflight;
pub mod properties;
pub mod section;
pub mod store_check;
pub mod survey;
pub mod table;
pub mod tables;
pub mod tally_scan;
pub mod uid_read;
pub mod window;
pub mod window_uids;
