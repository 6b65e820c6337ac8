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
        assert_eq!(run_at(&server.url(), &words).expect(0).json["differences"], 0);
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
