//! Rows that HBase cannot read: how its texts tell, and what an error says about them.

use super::ClusterError;

/// Looks at a list of regions that does not cover the table once: a split or merge is over within seconds.
pub(super) const LOOKS: u32 = 6;
/// Attempts at a file that HBase fails at: the gateway has repeated each of them for a minute already.
pub(super) const READS: u32 = 2;

impl ClusterError {
    /// True when HBase fails at the rows themselves, such as one with a negative timestamp or in a damaged file.
    pub fn is_unreadable(&self) -> bool {
        matches!(self.cause(), Self::Unreadable { .. })
    }

    /// True when HBase stumbled over a cell in memory that it cannot send, which shows at once.
    pub fn is_out_of_order(&self) -> bool {
        matches!(self.cause(), Self::Unreadable { message, .. } if message.contains("OutOfOrderScannerNextException"))
    }

    /// True when one attempt at a page failed in a way that its rows may be to blame for.
    pub fn may_be_rows(&self) -> bool {
        matches!(
            self,
            Self::Unreadable { .. }
                | Self::RowTooWide { .. }
                | Self::ReplyTooLong { .. }
                | Self::Space(_)
                | Self::Refused { .. }
                | Self::TimedOut { .. }
                | Self::Lost { .. }
                | Self::Rejected { .. }
        )
    }

    /// True when a region is not open where HBase looks for it.
    pub fn is_not_serving(&self) -> bool {
        let texts = ["NotServingRegionException", "RegionOpeningException"];
        matches!(self.cause(), Self::Refused { message, .. } if texts.iter().any(|text| message.contains(text)))
    }

    /// What HBase or the gateway said, without our words around it where that is possible.
    pub fn hbase_text(&self) -> String {
        match self.cause() {
            Self::Unreadable { message, .. } | Self::Refused { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Call;
    use super::*;
    use crate::model::Retry;

    const CALL: Call<'_> = Call { gateway: "g:1", method: "getScannerResults", table: "t" };

    #[test]
    fn a_damaged_file_is_told_from_a_slow_server() {
        // Shortened from HBase 2.6.1.
        let text = "Failed after attempts=16, exceptions:\n2026-11-27T13:45:31.536Z, java.net.SocketTimeoutException: \
                    callTimeout=60000, callDuration=68385: java.io.IOException: Invalid currKeyLen -1377915426\n\
                    \tat org.apache.hadoop.hbase.ipc.RpcServer.call(RpcServer.java:511)\n\
                    Caused by: java.lang.IllegalStateException: Invalid currKeyLen -1377915426 path=file:/t/76\n\
                    \tat org.apache.hadoop.hbase.io.hfile.HFileReaderImpl$HFileScannerImpl.next(HFileReaderImpl.java:924)\n";
        let error = CALL.io_error(text, Some(true));
        assert!(error.is_unreadable() && error.patience() == READS, "{error:?}");
        assert!(
            error.to_string().ends_with("IllegalStateException: Invalid currKeyLen -1377915426 path=file:/t/76"),
            "{error}"
        );
        let closed = "Failed after attempts=2, exceptions:\n2026-11-27T13:44:17.893Z, RpcRetryingCaller{globalStartTime=1}, \
                      org.apache.hadoop.hbase.NotServingRegionException: t,f,1.b9. is not online on h,1,2\n\tat x";
        let error = CALL.io_error(closed, Some(true));
        assert!(error.is_not_serving() && error.retry() == Retry::Transient, "{error}");
    }

    #[test]
    fn a_hole_that_stays_is_permanent() {
        let hole = || ClusterError::Regions { table: "t".into(), reason: "one ends at 05".into() };
        assert_eq!(hole().retry(), Retry::Transient);
        assert_eq!(ClusterError::Exhausted { attempts: LOOKS, source: Box::new(hole()) }.retry(), Retry::Permanent);
    }
}
