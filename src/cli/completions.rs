//! `tsdb-ark completions`: scripts that complete flags in a shell.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::outcome::Outcome;

/// What is asked for.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell to print the script for
    pub shell: Shell,
}

impl CompletionsArgs {
    /// The script for a command line.
    pub fn run(self, mut command: Command) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "tsdb-ark", &mut script);
        let text = String::from_utf8_lossy(&script).into_owned();
        // A script is wanted in whatever form reports are asked for.
        Outcome { quiet_text: text.clone(), json: text.trim_end().to_string(), text, ..Outcome::default() }
    }
}
