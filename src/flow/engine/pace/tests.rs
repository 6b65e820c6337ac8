use std::sync::atomic::{AtomicU64, Ordering};

use jiff::civil::Time;

use super::*;

/// A clock that stands still unless somebody sleeps; day and run begin together, so many minutes after midnight.
#[derive(Clone)]
struct TestClock {
    millis: Arc<AtomicU64>,
    midnight: u64,
}

impl TestClock {
    fn at(minute_of_day: u64) -> Self {
        Self { millis: Arc::default(), midnight: minute_of_day * 60_000 }
    }

    fn seconds(&self) -> f64 {
        self.now().as_secs_f64()
    }

    fn pass(&self, time: Duration) {
        self.millis.fetch_add(time.as_millis().max(1) as u64, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::SeqCst))
    }

    fn time_of_day(&self) -> Time {
        let minute = (self.midnight + self.millis.load(Ordering::SeqCst)) / 60_000 % (24 * 60);
        Time::constant((minute / 60) as i8, (minute % 60) as i8, 0, 0)
    }

    fn sleep(&self, time: Duration) {
        self.pass(time);
    }
}

fn pace(manners: Manners, clock: &TestClock) -> (Pace, Cancel) {
    let cancel = Cancel::new();
    (Pace::with_clock(&manners, 4, &Progress::new(), &cancel, Box::new(clock.clone())), cancel)
}

fn page(pace: &Pace, bytes: u64, rows: u64) {
    pace.ready().unwrap().over(Moved { bytes, rows, busy: Duration::ZERO }).unwrap();
}

fn window(from: u16, to: u16, allowance: Allowance) -> Ceiling {
    Ceiling::new(from * 60, to * 60, allowance).unwrap()
}

#[test]
fn both_limits_are_kept_on_average() {
    let clock = TestClock::at(0);
    let manners = Manners { rate: Some(1 << 20), rate_rows: Some(1000), ..Manners::default() };
    let (pace, _) = pace(manners, &clock);
    // Rows are the scarcer ones, then bytes.
    (0..200).for_each(|_| page(&pace, 1 << 10, 500));
    assert!((clock.seconds() / 100.0 - 1.0).abs() < 0.05, "{}", clock.seconds());
    let before = clock.seconds();
    (0..200).for_each(|n| page(&pace, (n % 8) << 20, 1));
    assert!(((clock.seconds() - before) / 700.0 - 1.0).abs() < 0.05, "{}", clock.seconds() - before);
}

#[test]
fn several_connections_share_one_limit() {
    let manners = Manners { rate: Some(4_000_000), ..Manners::default() };
    let pace = Pace::new(&manners, 4, &Progress::new(), &Cancel::new());
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..30).for_each(|_| page(&pace, 100_000, 1)));
        }
    });
    let rate = 12_000_000.0 / begun.elapsed().as_secs_f64();
    // A busy machine is slower.
    assert!((2_000_000.0..4_400_000.0).contains(&rate), "{rate}");
}

#[test]
fn no_limit_never_waits() {
    let clock = TestClock::at(0);
    let (pace, _) = pace(Manners::default(), &clock);
    (0..1000).for_each(|_| page(&pace, 1 << 30, 1 << 20));
    assert_eq!(clock.seconds(), 0.0);
}

#[test]
fn ceilings_come_and_go_with_the_clock() {
    let clock = TestClock::at(7 * 60 + 59);
    let ceilings = vec![
        window(8, 20, Allowance::Bytes(1000)),
        window(9, 10, Allowance::Bytes(100)),
        window(9, 10, Allowance::Bytes(500)),
        window(22, 6, Allowance::Rows(1)),
    ];
    let (pace, _) = pace(Manners { rate: Some(5000), ceilings, ..Manners::default() }, &clock);
    let rates = |minute: u64| {
        clock.millis.store((minute - (7 * 60 + 59)) * 60_000, Ordering::SeqCst);
        let rates = pace.rates();
        (rates.bytes, rates.rows)
    };
    assert_eq!(rates(7 * 60 + 59), (Some(5000), None));
    assert_eq!(rates(8 * 60), (Some(1000), None));
    assert_eq!(rates(9 * 60 + 30), (Some(100), None));
    assert_eq!(rates(20 * 60), (Some(5000), None));
    assert_eq!(rates(23 * 60), (Some(5000), Some(1)));
    assert_eq!(rates(24 * 60 + 5 * 60), (Some(5000), Some(1)));
    assert_eq!(rates(24 * 60 + 6 * 60), (Some(5000), None));
}

#[test]
fn nothing_pauses_until_the_window_ends() {
    let clock = TestClock::at(21 * 60 + 50);
    let (pace, cancel) =
        pace(Manners { ceilings: vec![window(22, 6, Allowance::Bytes(0))], ..Manners::default() }, &clock);
    page(&pace, 1 << 40, 1);
    assert_eq!(clock.seconds(), 0.0, "a debt from before the window is none");
    clock.pass(Duration::from_secs(600));
    page(&pace, 1, 1);
    assert!((clock.seconds() / 3600.0 - 8.0 - 10.0 / 60.0).abs() < 0.01, "{}", clock.seconds());
    cancel.set();
    assert!(matches!(pace.ready(), Err(FlowError::Interrupted)));
}

#[test]
fn a_debt_can_be_interrupted() {
    let (pace, cancel) = pace(Manners { rate: Some(1), ..Manners::default() }, &TestClock::at(0));
    page(&pace, 1 << 40, 1);
    cancel.set();
    assert!(matches!(pace.ready(), Err(FlowError::Interrupted)));
}

#[test]
fn calls_become_small_enough_to_be_spread() {
    let manners = Manners {
        rate: Some(8 << 20),
        rate_rows: Some(800),
        ceilings: vec![window(1, 2, Allowance::Rows(0))],
        ..Manners::default()
    };
    let (limited, _) = pace(manners, &TestClock::at(0));
    let pages = limited.pages(ScanOptions::default());
    assert_eq!((pages.page_bytes, pages.max_rows, pages.first_rows), (1 << 20, 100, 100));
    let batches = limited.batches(PutOptions::default());
    assert_eq!((batches.batch_bytes, batches.batch_rows), (1 << 20, 100));
    let (free, _) = pace(Manners::default(), &TestClock::at(0));
    assert_eq!(free.pages(ScanOptions::default()), ScanOptions::default());
    assert_eq!(free.batches(PutOptions::default()), PutOptions::default());
}
