//! How a command ends: what goes to stdout and stderr, and the exit code.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;
use tsdb_ark::flow::{FlowError, to_json};

use crate::cli::outcome::Outcome;

/// Exit codes, shown under every command.
pub const EXIT_CODES: &str = "\
Exit codes:
    0  done, all of it
    1  failed
    2  usage: flags, configuration file, a table that does not exist, a port without a gateway
    3  done, but something needs attention: differences, gaps, raw cells where none were expected,
       data that a backup would not hold, what would make a backup fail, a report that could not
       be written
   10  repository absent or not ours
   11  repository locked
   12  access denied, or a wrong key
   75  temporary, try again later: gateway or store unreachable or overloaded
  130  interrupted";

/// A command line that does not make sense; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(String);

/// A [`Usage`] error.
pub fn usage(text: impl Into<String>) -> Usage {
    Usage(text.into())
}

/// Prints the report and returns its exit code.
pub fn finished(outcome: &Outcome, json: bool, quiet: bool) -> ExitCode {
    let text = match (json, quiet) {
        (true, _) => format!("{}\n", outcome.json),
        (false, true) => outcome.quiet_text.clone(),
        (false, false) => outcome.text.clone(),
    };
    let print_report = if outcome.on_stderr { print_beside } else { print };
    if let Err(error) = print_report(&text) {
        // What was asked for is done: a script that took this for a failure would do it again.
        complain(&format!("the command is done, and its report cannot be written: {error}"));
        return ExitCode::from(if outcome.code == 0 { 3 } else { outcome.code });
    }
    if let Some(why) = &outcome.why {
        complain(why);
    }
    ExitCode::from(outcome.code)
}

/// Says why a command failed and returns the exit code; `on_stderr` when standard output has data.
pub fn failed(error: &anyhow::Error, json: bool, interrupted: bool, on_stderr: bool) -> ExitCode {
    // Whoever pressed ctrl-C is told so, whatever the stages made of it on their way out.
    let code = if interrupted { 130 } else { code_of(error) };
    if let Some(shown) = error.downcast_ref::<clap::Error>() {
        // A closed pipe or stderr leaves nobody to tell.
        let _ = shown.print();
    } else {
        complain(&format!("error: {}", chain(error.as_ref())));
    }
    if json && code != 0 {
        let message = match error.downcast_ref::<clap::Error>() {
            Some(shown) => first_line(&shown.to_string()),
            None => chain(error.as_ref()),
        };
        let print_failure = if on_stderr { print_beside } else { print };
        let _ = print_failure(&format!("{}\n", to_json(&Failure { error: message, exit_code: code })));
    }
    ExitCode::from(code)
}

#[derive(Serialize)]
struct Failure {
    error: String,
    exit_code: u8,
}

fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(flow) = error.downcast_ref::<FlowError>() {
        return flow.exit_code();
    }
    if let Some(shown) = error.downcast_ref::<clap::Error>() {
        return u8::try_from(shown.exit_code()).unwrap_or(2);
    }
    if error.is::<Usage>() { 2 } else { 1 }
}

/// Writes to stdout. A reader that has seen enough and closed the pipe is no error.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn print_beside(text: &str) -> io::Result<()> {
    io::stderr().lock().write_all(text.as_bytes())
}

fn complain(text: &str) {
    // Nothing is left to do when stderr is closed.
    let _ = writeln!(io::stderr().lock(), "tsdb-ark: {text}");
}

/// An error and its causes on one line; a cause that the text before already has is not repeated.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = one_line(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = one_line(&error.to_string());
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first line of what clap prints, without its label.
pub fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_and_tells_nothing_twice() {
        let cause = io::Error::other("disk\n full");
        let error = anyhow::Error::new(cause).context("shard 7").context("table tsdb");
        assert_eq!(chain(error.as_ref()), "table tsdb: shard 7: disk full");
        let told = FlowError::At { place: "tsdb".into(), source: Box::new(FlowError::Input("no row".into())) };
        assert_eq!(chain(&told), "tsdb: no row");
    }

    #[test]
    fn codes_follow_the_kind_of_error() {
        assert_eq!(code_of(&usage("x").into()), 2);
        assert_eq!(code_of(&anyhow::anyhow!("x")), 1);
        assert_eq!(code_of(&FlowError::Interrupted.into()), 130);
        assert_eq!(code_of(&anyhow::Error::from(FlowError::Input("x".into())).context("place")), 2);
    }
}
