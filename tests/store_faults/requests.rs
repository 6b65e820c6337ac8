//! Faults of single requests of a backup to S3.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{backup_words, committed, print_line, run_at, tables, verify};
use crate::support::bed::Bed;
use crate::support::faults::http::{Fault, FaultPlan, HttpProxy, Mix, Rule};
use crate::support::s3::S3Server;

struct Case {
    name: &'static str,
    plan: FaultPlan,
    flags: &'static [&'static str],
    /// Exit code, and words of the message.
    end: (i32, &'static [&'static str]),
    /// Faults that are injected at least.
    faults: u64,
}

const QUICK: &[&str] = &["--store-retry-for", "2s"];
const IMPATIENT: &[&str] = &["--store-retry-for", "6s", "--store-timeout", "1s"];

/// Of the random faults; `TSDB_ARK_FAULT_SEED` repeats a run with another.
fn seed() -> u64 {
    std::env::var("TSDB_ARK_FAULT_SEED").map_or(20_241, |seed| seed.parse().unwrap())
}

fn case(name: &'static str, rule: Rule, flags: &'static [&'static str], faults: u64) -> Case {
    Case { name, plan: FaultPlan::one(rule), flags, end: (0, &[]), faults }
}

fn cases() -> Vec<Case> {
    let ends = |code, words, case: Case| Case { end: (code, words), ..case };
    let put = |fault, path| Rule::on(fault, "PUT", path);
    vec![
        case("500s that pass", Rule::all(Fault::InternalError).after(3).times(4), &[], 4),
        ends(
            75,
            &["cannot", "try again later", "500"],
            case("500s that stay", Rule::all(Fault::InternalError).after(20), QUICK, 2),
        ),
        ends(
            75,
            &["manifest.json", "try again later"],
            case("500 to the manifest alone", put(Fault::InternalError, "manifest.json"), QUICK, 2),
        ),
        case("503 SlowDown that passes", Rule::all(Fault::SlowDown).after(6).times(5), &[], 5),
        ends(
            75,
            &["overloaded", "fewer uploads", "SlowDown"],
            case("503 SlowDown that stays", Rule::all(Fault::SlowDown).after(20), QUICK, 2),
        ),
        ends(
            12,
            &["credentials have expired", "--resume", "ExpiredToken"],
            case("403 ExpiredToken after a while", Rule::all(Fault::ExpiredToken).after(20), &[], 1),
        ),
        ends(
            12,
            &["credentials have expired", "--resume"],
            case("403 ExpiredToken from the start", Rule::all(Fault::ExpiredToken), &[], 1),
        ),
        case("resets", Rule::all(Fault::Reset).after(2).times(3), &[], 3),
        case("resets of data files", put(Fault::Reset, ".parquet").times(3), &[], 3),
        case("answers to listings that break off", Rule::on(Fault::AnswerCut, "GET", "list-type").times(4), &[], 4),
        case("answers that break off", Rule::all(Fault::AnswerCut).times(12), &[], 12),
        case("answer to a data file lost", put(Fault::AnswerLost, ".parquet").times(2), &[], 2),
        case("answer to a shard record lost", put(Fault::AnswerLost, "/shards/").times(2), &[], 2),
        case("answer to the manifest lost", put(Fault::AnswerLost, "manifest.json").times(1), &[], 1),
        case("answer to repository.json lost", put(Fault::AnswerLost, "repository.json").times(1), &[], 1),
        case("time-out after a data file took effect", put(Fault::AnswerStalled, ".parquet").times(2), IMPATIENT, 2),
        case("time-out after a shard record took effect", put(Fault::AnswerStalled, "/shards/").times(2), IMPATIENT, 2),
        case(
            "time-out after the manifest took effect",
            put(Fault::AnswerStalled, "manifest.json").times(1),
            IMPATIENT,
            1,
        ),
        case("time-out before the manifest took effect", put(Fault::Stall, "manifest.json").times(1), IMPATIENT, 1),
        case("slow answers", Rule::all(Fault::Slow(120)), &[], 10),
        ends(
            75,
            &["try again later"],
            case(
                "a store that stops to answer",
                Rule::all(Fault::Stall).after(20),
                &["--store-retry-for", "3s", "--store-timeout", "1s"],
                1,
            ),
        ),
        Case {
            name: "a bad day (random, 600 a minute)",
            plan: FaultPlan::mixed(seed(), Mix::survivable(600.0)),
            flags: &[],
            end: (0, &[]),
            faults: 1,
        },
    ]
}

fn play(case: &Case, number: usize) {
    let (bed, server) = (Bed::shared(), S3Server::versitygw());
    let repository = format!("s3://{}/prefix", server.bucket(&format!("case{number}")));
    let proxy = HttpProxy::start(&server.address(), case.plan.clone());
    let run = run_at(&proxy.url(), &backup_words(bed, tables(bed), &repository, case.flags));
    let (code, words) = case.end;
    let told = format!("{}\nfaults: {:?}\n{}{}", case.name, proxy.log(), run.out, run.err);
    assert_eq!(run.code, code, "{told}");
    assert!(proxy.count() >= case.faults, "{told}");
    assert!(words.iter().all(|word| run.err.contains(word)), "{told}");
    for secret in [crate::support::s3::KEYS.1, "X-Amz-Signature"] {
        assert!(!run.err.contains(secret) && !run.out.contains(secret), "{told}");
    }
    if code == 0 {
        assert_eq!(committed(&server.url(), &repository), 1, "{told}");
        verify(&server.url(), &repository);
    } else {
        assert!(run.err.contains(&repository), "{told}");
        assert_eq!(committed(&server.url(), &repository), 0, "{told}");
        // The fault over, the next run is not disturbed by what is left, or resumes it.
        let begun = run.err.contains("resume it with backup --resume");
        let flags: &[&str] = if begun { &["--resume"] } else { &[] };
        run_at(&server.url(), &backup_words(bed, tables(bed), &repository, flags)).expect(0);
        verify(&server.url(), &repository);
    }
    let injected: Vec<String> = proxy.injected().iter().map(|(name, count)| format!("{count} x {name}")).collect();
    print_line(case.name, &format!("{} of {} requests", injected.join(", "), proxy.requests()), &run);
}

#[test]
fn a_backup_survives_or_says_why_not() {
    let cases = cases();
    let next = AtomicUsize::new(0);
    println!("| fault | injected | what the program did | exit code | message |\n|---|---|---|---|---|");
    tables(Bed::shared());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(number) else { return };
                    play(case, number);
                }
            });
        }
    });
}

/// Reading has its faults too.
#[test]
fn a_verification_survives_faults() {
    let (bed, server) = (Bed::shared(), S3Server::versitygw());
    let repository = format!("s3://{}", server.bucket("reading"));
    run_at(&server.url(), &backup_words(bed, tables(bed), &repository, &[])).expect(0);
    let words = ["verify", "--json", "--level", "cells", "--repository", &repository];
    for rule in [
        Rule::all(Fault::InternalError).after(2).times(3),
        Rule::on(Fault::Reset, "GET", ".parquet").times(3),
        Rule::on(Fault::AnswerLost, "GET", "").after(1).times(3),
        Rule::all(Fault::AnswerCut).times(3),
        Rule::all(Fault::SlowDown).times(3),
    ] {
        let proxy = HttpProxy::start(&server.address(), FaultPlan::one(rule));
        let run = run_at(&proxy.url(), &words).expect(0);
        assert_eq!((run.json["differences"].as_u64(), proxy.count()), (Some(0), 3), "{:?}", proxy.log());
        print_line("verify", &format!("{:?}", proxy.injected()), &run);
    }
    let proxy = HttpProxy::start(&server.address(), FaultPlan::one(Rule::all(Fault::ExpiredToken).after(4)));
    let run = run_at(&proxy.url(), &words).expect(12);
    assert!(run.err.contains("credentials have expired"), "{}", run.err);
}
