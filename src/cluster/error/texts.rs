//! Java classes in the texts of a gateway that say more than its `canRetry`.

/// Texts of errors that another try does not meet although `canRetry` may say otherwise: the scanner inside the gateway
/// expired, or a region was on its way. Every request is one of its own, so repeating it is exact.
pub(super) fn is_passing(text: &str) -> bool {
    [
        "UnknownScannerException",
        "ScannerTimeoutException",
        "ScannerResetException",
        "LeaseException",
        "NotServingRegionException",
        "RegionMovedException",
        "RegionOpeningException",
        "RegionServerStoppedException",
        "RegionServerAbortedException",
        "ServerNotRunningYetException",
        "CallTimeoutException",
        "SocketTimeoutException",
    ]
    .iter()
    .any(|class| text.contains(class))
}

/// Texts of errors that another try meets again although `canRetry` says otherwise.
pub(super) fn is_permanent(text: &str) -> bool {
    [
        "DoNotRetryIOException",
        "IllegalArgumentException",
        "UnsupportedOperationException",
        "InvalidFamilyOperationException",
        "NamespaceNotFoundException",
        "NamespaceExistException",
        "ConstraintException",
        "InvalidProtocolBuffer",
        "Protocol message contained an invalid",
        "Cannot set batch on a scan",
    ]
    .iter()
    .any(|needle| text.contains(needle))
}
