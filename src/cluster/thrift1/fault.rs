//! Errors of the generated Thrift1 client as ours.

use hbase_thrift::hbase::{AlreadyExists, IOError, IllegalArgument};
use thrift1_runtime::Error;

use crate::cluster::ClusterError;
use crate::cluster::error::Call;
use crate::model::Retry;

/// The error for the caller.
pub(super) fn read(call: &Call<'_>, error: Error) -> ClusterError {
    match error {
        Error::User(error) => declared(call, error),
        Error::Application(error) => call.application(error.kind as i32, &error.message),
        other => call.unreadable(other.to_string()),
    }
}

/// The exceptions that the service declares.
fn declared(call: &Call<'_>, error: Box<dyn std::error::Error + Send + Sync>) -> ClusterError {
    let error = match error.downcast::<IOError>() {
        Ok(error) => return call.io_error(&without_stack(&error.message.unwrap_or_default()), error.can_retry),
        Err(error) => error,
    };
    let error = match error.downcast::<IllegalArgument>() {
        Ok(error) => return illegal(call, &error.message.unwrap_or_default()),
        Err(error) => error,
    };
    match error.downcast::<AlreadyExists>() {
        Ok(_) => ClusterError::TableExists { table: call.table.to_owned() },
        Err(error) => call.unreadable(error.to_string()),
    }
}

/// A scanner that the gateway does not know (any more) is gone with its page, which is simply asked for again; any
/// other illegal argument stays one.
fn illegal(call: &Call<'_>, text: &str) -> ClusterError {
    let retry = if text.contains("scanner ID is invalid") { Retry::Transient } else { Retry::Permanent };
    match call.io_error(&without_stack(text), Some(true)) {
        ClusterError::Refused { gateway, method, table, message, .. } => {
            ClusterError::Refused { gateway, method, table, message, retry }
        }
        other => other,
    }
}

/// The message and the causes out of a Java stack trace. The class in front of a failed batch goes too, so that the
/// text reads as Thrift2 gives it.
fn without_stack(text: &str) -> String {
    let frame = |line: &str| line.trim_start().starts_with("at ") || line.trim_start().starts_with("... ");
    let lines: Vec<&str> = text.lines().filter(|line| !frame(line)).collect();
    let text = lines.join("\n");
    match text.split_once("RetriesExhaustedWithDetailsException: ") {
        Some((class, rest)) if !class.contains(char::is_whitespace) => rest.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use thrift1_runtime::{ApplicationError, ApplicationErrorKind};

    use super::*;

    const CALL: Call<'_> = Call { gateway: "g:1", method: "scannerGetList", table: "t" };

    fn io(text: &str, can_retry: bool) -> ClusterError {
        read(&CALL, IOError::new(text.to_owned(), can_retry).into())
    }

    #[test]
    fn stack_traces_are_read_and_cut() {
        let missing = "org.apache.hadoop.hbase.TableNotFoundException: t\n\tat a.b.C.d(C.java:1)\n\t... 9 more";
        assert!(matches!(io(missing, false), ClusterError::TableMissing { .. }));
        let caused = "java.io.IOException: no\n\tat a.B.c(B.java)\nCaused by: x.NoSuchColumnFamilyException: f\n\tat d";
        let error = io(caused, true);
        assert!(matches!(&error, ClusterError::FamilyMissing { message, .. } if message == "java.io.IOException: no"));
        let batch = "org.apache.hadoop.hbase.client.RetriesExhaustedWithDetailsException: Failed 1 action: t: 1 time, \
                     servers with issues: null\n\tat x";
        assert!(matches!(io(batch, true), ClusterError::TableMissing { .. }));
        // A frame that names a class is no cause.
        let frame = "java.io.IOException: Call timed out\n\tat x.DoNotRetryIOException.y(Z.java:3)";
        assert_eq!(io(frame, true).retry(), Retry::Transient);
    }

    #[test]
    fn an_answer_to_another_call_or_without_a_result_is_asked_for_again() {
        use ApplicationErrorKind::{BadSequenceId, InvalidMessageType, MissingResult, WrongMethodName};
        let error = |kind| read(&CALL, Error::Application(ApplicationError::new(kind, "text")));
        for kind in [BadSequenceId, InvalidMessageType, WrongMethodName] {
            assert!(matches!(error(kind), ClusterError::Protocol { .. }), "{kind:?}");
        }
        assert!(matches!(error(MissingResult), ClusterError::NoResult { .. }));
        let unknown = error(ApplicationErrorKind::UnknownMethod);
        assert!(matches!(unknown, ClusterError::Application { kind: 1, .. }), "{unknown:?}");
    }

    #[test]
    fn a_lost_scanner_is_asked_for_again_and_other_arguments_are_not() {
        let illegal = |text: &str| read(&CALL, IllegalArgument::new(text.to_owned()).into());
        assert_eq!(illegal("scanner ID is invalid").retry(), Retry::Transient);
        assert_eq!(illegal("java.lang.IllegalArgumentException: Row length is 0\n\tat x").retry(), Retry::Permanent);
        let exists = read(&CALL, AlreadyExists::new("table name already in use".to_owned()).into());
        assert!(matches!(exists, ClusterError::TableExists { .. }));
    }
}
