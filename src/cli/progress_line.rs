//! One line on a terminal that says how far a command is, how fast, and how long it still takes.

use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tsdb_ark::flow::{BackingOff, Cancel, Progress, ProgressView};

use crate::cli::running::Running;
use crate::cli::units;

const EVERY: Duration = Duration::from_millis(200);
/// For a stage with a number of pieces, and for one without.
const COUNTED: &str = "{prefix} {bar:20} {pos}/{len} {wide_msg}";
const UNCOUNTED: &str = "{prefix} {wide_msg}";

/// The line. Clones draw on the same one.
#[derive(Debug, Clone)]
pub struct ProgressLine(ProgressBar);

impl ProgressLine {
    /// A line on stderr, when it is wanted and stderr is a terminal.
    pub fn new(wanted: bool) -> Self {
        let target = if wanted && std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let line = Self(bar);
        line.style(UNCOUNTED);
        line
    }

    /// The templates are constants of this file; the default style is as good a line if one ever fails to parse.
    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
    }

    /// Runs something that writes to stderr.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// Draws the counters until the returned value is dropped. Nothing is started when nothing is drawn.
    pub fn watch(&self, running: &Running) -> Option<Watch> {
        if self.0.is_hidden() {
            return None;
        }
        let (stop, stopped) = channel::<()>();
        let (line, progress, cancel) = (self.clone(), running.progress.clone(), running.cancel.clone());
        let thread = std::thread::Builder::new().name("progress".into()).spawn(move || {
            let mut pace = Pace::new(Instant::now());
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                draw(&line, &progress, &cancel, &mut pace);
            }
            line.0.finish_and_clear();
        });
        // A machine without room for one more thread does without the line.
        thread.ok().map(|thread| Watch { stop: Some(stop), thread: Some(thread) })
    }
}

fn draw(line: &ProgressLine, progress: &Progress, cancel: &Cancel, pace: &mut Pace) {
    let (view, bar) = (progress.view(), &line.0);
    if view.stage.is_empty() {
        return;
    }
    if pace.stage != view.stage {
        line.style(if view.total == 0 { UNCOUNTED } else { COUNTED });
    }
    bar.set_prefix(view.stage.clone());
    bar.set_length(view.total);
    bar.set_position(view.done);
    let message = pace.message(&view, Instant::now());
    bar.set_message(if cancel.is_set() { "stopping; press ctrl-C again to stop at once".to_string() } else { message });
    bar.tick();
}

/// Ends the drawing and clears the line when dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread only draws: when it panicked, there is nothing to lose.
            let _ = thread.join();
        }
    }
}

/// Rates over the last seconds and the time left in a stage.
#[derive(Debug)]
struct Pace {
    stage: String,
    stage_began: Instant,
    seen_at: Instant,
    seen: ProgressView,
    cells_per_second: f64,
    bytes_per_second: f64,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self {
            stage: String::new(),
            stage_began: now,
            seen_at: now,
            seen: ProgressView::default(),
            cells_per_second: 0.0,
            bytes_per_second: 0.0,
        }
    }

    fn message(&mut self, view: &ProgressView, now: Instant) -> String {
        if self.stage != view.stage {
            self.stage.clone_from(&view.stage);
            self.stage_began = now;
        }
        let seconds = now.duration_since(self.seen_at).as_secs_f64();
        if seconds > 0.0 {
            // Smoothed over about five seconds, so that pages of different sizes do not make the numbers jump.
            let weight = 1.0 - (-seconds / 5.0).exp();
            let bytes = |v: &ProgressView| v.bytes_read.max(v.bytes_written);
            let cells = view.cells.saturating_sub(self.seen.cells) as f64 / seconds;
            let moved = bytes(view).saturating_sub(bytes(&self.seen)) as f64 / seconds;
            let first = self.seen == ProgressView::default();
            let blend = |old: f64, new: f64| if first { new } else { old + weight * (new - old) };
            self.cells_per_second = blend(self.cells_per_second, cells);
            self.bytes_per_second = blend(self.bytes_per_second, moved);
            self.seen_at = now;
            self.seen = view.clone();
        }
        if let Some(waiting) = &view.waiting {
            return waiting.clone();
        }
        format!(
            "{} cells/s  {:.1} MB/s{}{}",
            units::rate(self.cells_per_second),
            self.bytes_per_second / 1e6,
            self.left(view, now).map_or(String::new(), |left| format!("  ETA {}", clock(left))),
            manners(view)
        )
    }

    fn left(&self, view: &ProgressView, now: Instant) -> Option<Duration> {
        let open = view.total.checked_sub(view.done)?;
        if view.done == 0 || open == 0 {
            return None;
        }
        Some(now.duration_since(self.stage_began).mul_f64(open as f64 / view.done as f64))
    }
}

/// Why it is slower than it could be.
fn manners(view: &ProgressView) -> String {
    if view.paused {
        return "  paused by --ceiling".to_string();
    }
    view.back_off.map_or(String::new(), |BackingOff { share, times }| {
        format!("  backing off to {:.0} % (gateway {times:.1}x its usual latency)", share * 100.0)
    })
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 3600 {
        0 => format!("{:02}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(stage: &str, done: u64, cells: u64, bytes_read: u64) -> ProgressView {
        ProgressView { stage: stage.into(), total: 10, done, cells, bytes_read, ..ProgressView::default() }
    }

    #[test]
    fn rates_and_time_left_follow_the_counters() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(start);
        assert_eq!(pace.message(&view("tsdb", 0, 0, 0), start), "0 cells/s  0.0 MB/s");
        assert_eq!(pace.message(&view("tsdb", 2, 20_000, 4_000_000), after(2)), "10 k cells/s  2.0 MB/s  ETA 00:08");
        let steady = pace.message(&view("tsdb", 5, 50_000, 10_000_000), after(5));
        assert_eq!(steady, "10 k cells/s  2.0 MB/s  ETA 00:05");
    }

    #[test]
    fn the_line_says_what_holds_it_back() {
        let start = Instant::now();
        let back_off = Some(BackingOff { share: 0.4, times: 3.12 });
        let held_back = ProgressView { back_off, ..view("tsdb", 0, 0, 0) };
        let line = Pace::new(start).message(&held_back, start);
        assert_eq!(line, "0 cells/s  0.0 MB/s  backing off to 40 % (gateway 3.1x its usual latency)");
        let paused = ProgressView { paused: true, ..held_back };
        assert!(Pace::new(start).message(&paused, start).ends_with("  paused by --ceiling"));
        let waiting = "retrying until 2026-01-01T00:00:00Z: cannot connect to gateway g:1: refused";
        let waits = ProgressView { waiting: Some(waiting.into()), ..paused };
        assert_eq!(Pace::new(start).message(&waits, start), waiting);
    }

    #[test]
    fn a_new_stage_starts_its_own_clock() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.message(&view("tsdb", 1, 0, 0), start);
        pace.message(&view("tsdb-uid", 0, 0, 0), start + Duration::from_secs(3600));
        let text = pace.message(&view("tsdb-uid", 5, 0, 0), start + Duration::from_secs(3610));
        assert!(text.ends_with("ETA 00:10"), "{text}");
        assert_eq!(clock(Duration::from_secs(3725)), "1:02:05");
    }
}
