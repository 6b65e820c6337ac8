//! Requests written by hand: one reused buffer, straight from the cells.

mod batch;
mod page;
mod writer;

pub use batch::Durability;
pub(crate) use batch::{deletes, encoded_cell_len, encoded_row_len, puts};
pub(crate) use page::page;
pub use page::{PageRequest, Pieces};
pub(crate) use writer::{Kind, Writer, message};

#[cfg(test)]
mod tests;
