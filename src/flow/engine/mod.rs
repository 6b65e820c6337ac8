//! What every command runs on: threads and their pool, work and workers, memory, pace, progress, the stop flag.

pub mod budget;
pub mod cancel;
pub mod old_gateways;
pub mod pace;
pub mod progress;
pub mod queue;
pub mod rss;
pub mod threads;
pub mod workers;
