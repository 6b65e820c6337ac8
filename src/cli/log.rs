//! Log lines on stderr, drawn around the progress line.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::args::{LogFormat, OutputArgs};
use crate::cli::progress_line::ProgressLine;

/// Starts logging at the level that the flags or `TSDB_ARK_LOG` ask for.
pub fn start(output: &OutputArgs, line: &ProgressLine) {
    let asked = EnvFilter::try_from_env("TSDB_ARK_LOG");
    let filter = asked.unwrap_or_else(|_| EnvFilter::new(directives(output.quiet, output.verbose)));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(AroundProgress(line.clone()));
    // A second subscriber is impossible in a process that starts logging once.
    let _ = match output.log_format {
        LogFormat::Text => lines.with_ansi(false).with_target(false).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}

fn directives(quiet: bool, verbose: u8) -> &'static str {
    match (verbose, quiet) {
        (0, true) => "error",
        (0, false) => "warn",
        (1, _) => "warn,tsdb_ark=info",
        (2, _) => "info,tsdb_ark=debug",
        _ => "debug,tsdb_ark=trace",
    }
}

/// Writes to stderr while the progress line is out of the way.
#[derive(Debug, Clone)]
struct AroundProgress(ProgressLine);

impl Write for AroundProgress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

impl MakeWriter<'_> for AroundProgress {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
