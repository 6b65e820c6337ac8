use super::*;

const CALL: Call<'_> = Call { gateway: "g:1", method: "putMultiple", table: "ns:t" };

#[test]
fn reads_the_texts_of_the_gateway() {
    let missing = [
        "ns:t",
        "Failed 1 action: ns:t: 1 time, servers with issues: null",
        "x.TableNotFoundException: ns:t",
        "Table 'ns:t' was not found, got: hbase:namespace.",
        "Failed 1 action: Table 'ns:t' was not found, got: hbase:namespace.: 1 time, servers with issues: null",
    ];
    for text in missing {
        assert!(matches!(CALL.io_error(text, Some(true)), ClusterError::TableMissing { .. }), "{text}");
    }
    let other = CALL.io_error("Table 'other' was not found, got: ns:t.", Some(true));
    assert!(matches!(other, ClusterError::Refused { .. }), "{other}");
    assert!(matches!(CALL.io_error("ns:t is disabled.", Some(false)), ClusterError::TableDisabled { .. }));
    let family = "Failed 1 action: org.apache.hadoop.hbase.regionserver.NoSuchColumnFamilyException: Column family x";
    assert!(matches!(CALL.io_error(family, Some(true)), ClusterError::FamilyMissing { .. }));
    let busy = CALL.io_error("Failed 3 actions: RegionTooBusyException: 3 times, servers", Some(true));
    assert_eq!(busy.retry(), Retry::Throttled);
    let denied = CALL.io_error("org.apache.hadoop.hbase.security.AccessDeniedException: no", Some(true));
    assert_eq!(denied.retry(), Retry::Permanent);
}

#[test]
fn what_cannot_pass_is_not_tried_again() {
    assert_eq!(CALL.io_error("java.lang.IllegalArgumentException: no", None).retry(), Retry::Permanent);
    let space = "Failed 1 action: org.apache.hadoop.hbase.quotas.SpaceLimitingException: NO_INSERTS Puts are \
                 disallowed due to a space quota.: 1 time, servers with issues: null";
    let error = CALL.io_error(space, Some(true));
    assert!(matches!(error, ClusterError::QuotaExceeded { .. }) && error.retry() == Retry::Permanent, "{error:?}");
}

#[test]
fn can_retry_decides_the_rest() {
    assert_eq!(CALL.io_error("Call timed out", Some(true)).retry(), Retry::Transient);
    assert_eq!(CALL.io_error("Call timed out", None).retry(), Retry::Transient);
    assert_eq!(CALL.io_error("no luck", Some(false)).retry(), Retry::Permanent);
    let filter = "Protocol message contained an invalid tag (zero).";
    assert_eq!(CALL.io_error(filter, Some(true)).retry(), Retry::Permanent);
    assert_eq!(CALL.application(6, "Internal error").retry(), Retry::Permanent);
    let listing = Call { method: "getAllRegionLocations", ..CALL };
    assert_eq!(listing.application(6, "Internal error").retry(), Retry::Transient);
}

#[test]
fn an_expired_scanner_passes_whatever_can_retry_says() {
    for class in ["UnknownScannerException", "LeaseException", "NotServingRegionException"] {
        let text = format!("org.apache.hadoop.hbase.{class}: x (a DoNotRetryIOException)");
        assert_eq!(CALL.io_error(&text, Some(false)).retry(), Retry::Transient);
    }
    let row = "Failed after retry of OutOfOrderScannerNextException: was there a rpc timeout?";
    let error = CALL.io_error(row, Some(false));
    assert!(error.is_unreadable() && error.retry() == Retry::Permanent);
}

#[test]
fn a_stack_is_cut_to_its_first_line() {
    let error = CALL.io_error("a.b.C: why\n\tat x\n\tat y", Some(false));
    assert!(error.to_string().ends_with("a.b.C: why"), "{error}");
}
