//! Replies read by hand: borrowed from the buffer they came in, nothing copied, everything checked.
//!
//! [`Input`] is the cursor, [`Protocol`] how values are written ([`Binary`], [`Compact`]), [`scan`] the reply of
//! `getScannerResults` and [`simple`] the small ones. A parser that meets the end of the input says
//! [`Fault::Short`]: over an unframed connection, where no length is sent, that means "read on".

mod binary;
mod compact;
mod protocol;
pub(crate) mod scan;
pub(crate) mod simple;

pub(crate) use binary::Binary;
pub(crate) use compact::Compact;
pub(crate) use protocol::{Fault, Input, Kind, MessageKind, Protocol};

#[cfg(test)]
mod tests;
