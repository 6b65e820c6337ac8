//! What an error means for the next attempt: whether to try again, when, how often, and where.

use std::time::Duration;

use super::{ClusterError, unreadable};
use crate::model::Retry;

/// Attempts granted to faults that come from a broken peer rather than from a busy or restarting one.
const FEW: u32 = 5;

impl ClusterError {
    /// Whether another try may succeed. [`Exhausted`](Self::Exhausted) answers for its last error, because a much
    /// later try may still pass.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Connect { .. } | Self::TimedOut { .. } | Self::Lost { .. } | Self::Protocol { .. } => {
                Retry::Transient
            }
            Self::NoResult { .. } => Retry::Transient,
            Self::NoTransport { .. } | Self::NotThrift { .. } | Self::Regions { .. } => Retry::Transient,
            Self::Silent { .. } | Self::Busy { .. } | Self::Overloaded { .. } => Retry::Throttled,
            Self::Refused { retry, .. } | Self::Unreadable { retry, .. } => *retry,
            // The region list fails this way while a region is in transition.
            Self::Application { method: "getAllRegionLocations" | "getTableRegions", kind: 6, .. } => Retry::Transient,
            // What stays through several looks stays.
            Self::Exhausted { source, .. } if matches!(**source, Self::Regions { .. } | Self::Unreadable { .. }) => {
                Retry::Permanent
            }
            Self::Exhausted { source, .. } => source.retry(),
            _ => Retry::Permanent,
        }
    }

    /// True when the gateway ended the connection instead of answering.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self, Self::Lost { unanswered: true, .. })
    }

    /// The same error of a request of which a smaller part may still be answered.
    pub(crate) fn of_a_part(self) -> Self {
        match self {
            Self::Lost { gateway, method, reason, .. } => Self::Lost { gateway, method, reason, unanswered: false },
            other => other,
        }
    }

    /// How long HBase asks to wait before the next try.
    pub(crate) fn wait(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { wait, .. } => *wait,
            _ => None,
        }
    }

    /// The most attempts that make sense.
    pub(crate) fn patience(&self) -> u32 {
        match self {
            Self::Protocol { .. } | Self::Application { .. } | Self::NoTransport { .. } | Self::Silent { .. } => FEW,
            Self::NoResult { .. } | Self::NotThrift { .. } => FEW,
            Self::Regions { .. } => unreadable::LOOKS,
            Self::Unreadable { .. } => unreadable::READS,
            _ => u32::MAX,
        }
    }

    /// True when the connection cannot be used any more.
    pub(crate) fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::TimedOut { .. }
                | Self::Lost { .. }
                | Self::Protocol { .. }
                | Self::NoResult { .. }
                | Self::ReplyTooLong { .. }
                | Self::Space(_)
        )
    }

    /// True when the gateway rather than the table is to blame.
    pub(crate) fn blames_gateway(&self) -> bool {
        self.ends_connection() && !matches!(self, Self::ReplyTooLong { .. } | Self::Space(_))
            || matches!(self, Self::Connect { .. } | Self::Silent { .. } | Self::Busy { .. })
            || matches!(self, Self::NoTransport { .. } | Self::NotThrift { .. })
    }

    /// True when the address is the wrong one: what is there speaks another protocol, or the other service.
    pub fn is_wrong_protocol(&self) -> bool {
        let cause = self.cause();
        matches!(cause, Self::Http { .. } | Self::Tls { .. } | Self::Sasl { .. })
            || matches!(cause, Self::WrongApi { .. } | Self::WrongTransport { .. })
    }

    /// True when a batch may have been refused because of the size of one of its cells. The gateway's own limit shows as
    /// an internal error, that of its frames as a closed connection, that of a region server by its text.
    pub(crate) fn may_be_about_size(&self) -> bool {
        let told = |text: &str| text.contains("exceeds limit of") || text.contains("KeyValue size too large");
        match self.cause() {
            Self::Rejected { .. } | Self::Application { method: "putMultiple", kind: 6, .. } => true,
            Self::Refused { message, .. } => told(message),
            _ => false,
        }
    }

    /// True when the stop flag ended the call.
    pub fn is_interrupted(&self) -> bool {
        matches!(self.cause(), Self::Interrupted)
    }

    /// The error behind [`Exhausted`](Self::Exhausted), or this one.
    pub fn cause(&self) -> &ClusterError {
        match self {
            Self::Exhausted { source, .. } => source.cause(),
            other => other,
        }
    }
}
