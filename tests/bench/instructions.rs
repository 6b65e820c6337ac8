//! Instructions that an encode, or the reading of its file, executes, which unlike times are the same at every run: this program runs itself under
//! callgrind, which counts only inside [`callgrind_counts_this`].

use std::process::Command;

use crate::encode::{Pages, Run, read};
use crate::mix::{Form, Mix};

/// What is counted, by the name of the figure.
pub const COUNTED: [&str; 5] = ["compacted", "single", "cardinality", "compacted_read", "single_read"];
/// Ends the names of what reads a file.
const READ: &str = "_read";

/// The table behind a name: small, because callgrind takes fifty times as long.
fn mix(name: &str) -> Option<Mix> {
    match name.trim_end_matches(READ) {
        "compacted" => Some(Mix::new(Form::Compacted, 720_000)),
        "single" => Some(Mix::new(Form::Single, 720_000)),
        "cardinality" => Some(Mix::of_series(100_000)),
        _ => None,
    }
}

/// Instructions per point; `None` without valgrind.
pub fn per_point(name: &str) -> Option<f64> {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*callgrind_counts_this*"])
        .arg(program)
        .args(["--count", name])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "valgrind failed:\n{text}");
    let collected = text.lines().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse::<f64>().ok());
    let points = mix(name).expect("the name is known").points();
    Some(collected.expect("callgrind says what it collected") / points as f64)
}

/// Runs what is counted.
pub fn count(name: &str) {
    let mix = mix(name).unwrap_or_else(|| panic!("nothing is counted under the name {name}"));
    let mut pages = Pages::of(&mix);
    if name.ends_with(READ) {
        let points = Run::of(&mut pages, &mix).into_points();
        callgrind_counts_this(|| read(points));
    } else {
        callgrind_counts_this(|| Run::of(&mut pages, &mix).into_points());
    }
}

#[inline(never)]
fn callgrind_counts_this<T>(work: impl FnOnce() -> T) {
    std::hint::black_box(work());
}
