//! A committed backup as all its readers see it: manifest and catalogue, cells, lists, and what does not belong to it.

pub mod backup_files;
pub mod chain;
pub mod contents;
pub mod gaps;
pub mod inventory;
pub mod kept_parts;
pub mod matching;
pub mod parent;
pub mod part_reader;
pub mod selected;
pub mod strays;
pub mod uid_cells;
pub mod used_uids;
pub mod views;
