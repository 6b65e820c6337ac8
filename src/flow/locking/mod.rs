//! Who is at work in a repository, and who must wait.

mod beats;
pub mod lock;
pub mod process;
