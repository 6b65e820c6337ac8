//! Proxies between the program and real servers that do to a connection what networks and dying servers do.

pub mod http;
pub mod plan;
pub mod thrift;
