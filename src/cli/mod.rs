//! Words in, words out: flags and the configuration file become a plan, a report becomes text or JSON and an exit code.
//!
//! A verb's file holds its flags, what they ask for (the request) and how its report reads. What is typed and what is
//! run are two types: nothing behind a request sees a raw flag.

mod args;
mod backup;
mod check;
mod columns;
mod command;
mod commit;
mod completions;
mod config;
mod exit;
mod expected_raw;
mod export;
mod limits;
mod list;
mod log;
mod merge;
mod opentsdb_args;
mod outcome;
mod progress_line;
mod prune;
mod repository_args;
mod restore;
mod running;
mod selection_args;
mod show;
mod signals;
mod tables_text;
mod units;
mod verify;
mod worker;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::command::Verb;
use crate::cli::outcome::Outcome;
use crate::cli::progress_line::ProgressLine;
use crate::cli::running::Running;
use crate::cli::signals::Signals;

/// Runs the command line of this process and returns its exit code.
pub fn run() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let cli = match config::parse(&words) {
        Ok(cli) => cli,
        Err(error) => return exit::failed(&error, asks_for_json(&words), false, false),
    };
    let (json, quiet) = (cli.output.json, cli.output.quiet);
    // Where standard output is for data, nothing else goes there.
    let on_stderr = matches!(&cli.verb, Verb::Export(args) if args.uses_stdout());
    let running = Running::default();
    let line = ProgressLine::new(!json && !quiet);
    let signals = Signals::listen(&running.cancel, &line, quiet);
    log::start(&cli.output, &line);
    let watch = line.watch(&running);
    let result = signals.map(|signals| {
        let result = perform(cli.verb, &running);
        (result, signals.received())
    });
    drop(watch);
    match result {
        Ok((Ok(outcome), _)) => exit::finished(&outcome, json, quiet),
        Ok((Err(error), interrupted)) => exit::failed(&error, json, interrupted, on_stderr),
        Err(error) => exit::failed(&error, json, false, on_stderr),
    }
}

fn perform(verb: Verb, running: &Running) -> anyhow::Result<Outcome> {
    match verb {
        Verb::Check(args) => args.run(running),
        Verb::Backup(args) => args.run(running),
        Verb::Worker(args) => args.run(running),
        Verb::Commit(args) => args.run(running),
        Verb::Merge(args) => args.run(running),
        Verb::List(args) => args.run(),
        Verb::Show(args) => args.run(),
        Verb::Verify(args) => args.run(running),
        Verb::Restore(args) => args.run(running),
        Verb::Export(args) => args.run(running),
        Verb::Prune(args) => args.run(running),
        Verb::Completions(args) => Ok(args.run(command::command())),
    }
}

/// A command line that does not parse still says to scripts what went wrong in the form that they asked for.
fn asks_for_json(words: &[OsString]) -> bool {
    words.iter().any(|word| word == "--json" || word == "--json=true")
}
