//! The round trip of a real OpenTSDB's cells over S3.

use super::{backup_words, run_at, verify};
use crate::support::bed::Bed;
use crate::support::golden;
use crate::support::s3::S3Server;
use crate::support::tsd::Tables;

#[test]
fn golden_cells_come_back_from_s3() {
    let (bed, server) = (Bed::shared(), S3Server::versitygw());
    let repository = format!("s3://{}/opentsdb", server.bucket("golden"));
    for set in golden::SETS {
        let source = golden::load(bed, set);
        let target = Tables::named(&format!("{}.", bed.unique("r")), source.rollups);
        let flags = ["--expect-raw-cells", "--raw"];
        run_at(&server.url(), &backup_words(bed, &source, &repository, &flags)).expect(0);
        verify(&server.url(), &repository);
        let gateway = bed.thrift2_address();
        let mut words: Vec<String> =
            ["restore", "--json", "--repository", &repository, "--gateway", &gateway].map(str::to_owned).into();
        for (old, new) in source.names().iter().zip(target.names()) {
            words.extend(["--rename-table".into(), format!("{old}={new}")]);
        }
        // The flags alone lead there: nobody listens where the environment points.
        words.extend(["--s3-endpoint".into(), server.url(), "--s3-region".into(), "us-east-1".into()]);
        assert_eq!(run_at("http://127.0.0.1:1", &words).expect(0).json["differences"], 0);
        let mut cells = 0;
        for (old, new) in source.names().iter().zip(target.names()) {
            let (mut before, mut after) = (golden::dump(bed, old, true), golden::dump(bed, &new, true));
            before.sort();
            after.sort();
            assert!(before == after, "{set}: {old} has {} cells, {new} {}", before.len(), after.len());
            cells += before.len();
        }
        println!("golden round trip over S3 | {set} | {cells} cells, 0 differences");
    }
}

#[test]
fn flags_that_do_not_go_together_are_usage_errors() {
    let cases: [(&[&str], &str); 7] = [
        (&["--s3-kms-key", "k"], "--s3-sse kms"),
        (&["--s3-sse", "aes256", "--s3-bucket-key"], "--s3-sse kms"),
        (&["--s3-sse", "kms", "--s3-sse-key-file", "/x"], "--s3-sse customer"),
        (&["--s3-sse", "customer"], "--s3-sse-key-file"),
        (&["--store-retry-for", "1h"], "10m"),
        (&["--store-timeout", "0s"], "longer than 0"),
        (&["--s3-sse", "rot13"], "aes256"),
    ];
    for (flags, words) in cases {
        let run = run_at("http://127.0.0.1:1", &[&["list", "--repository", "s3://bucket/p"], flags].concat()).expect(2);
        assert!(run.err.contains(words), "{flags:?}: {}", run.err);
    }
    // What the store itself finds out about settings.
    for (flags, words) in [
        (["--s3-ca", "/nowhere/ca.pem"], "/nowhere/ca.pem"),
        (["--s3-profile", "nobody"], "no profile nobody"),
        (["--s3-endpoint", "s3.example"], "http://"),
    ] {
        let run =
            run_at("http://127.0.0.1:1", &[&["list", "--repository", "s3://bucket/p"], &flags[..]].concat()).expect(10);
        assert!(run.err.contains(words), "{flags:?}: {}", run.err);
    }
}
