//! Tests that go through the whole codec.

mod bench;
mod golden;
mod properties;
mod rows;
mod support;
mod vectors;
