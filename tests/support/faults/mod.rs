//! What stands between the program and its servers and misbehaves.

pub mod http;
