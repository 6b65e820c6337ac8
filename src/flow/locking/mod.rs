//! Who is at work in a repository, and who must wait.

pub mod lock;
pub mod process;
