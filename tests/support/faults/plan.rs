//! Which call meets which fault: by number, or at random at a steady rate. The same seed draws the same faults.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::support::synthetic::Dice;

/// Stands for the making of a connection where a method is named.
pub const CONNECT: &str = "connect";
/// Stands for every method.
pub const ANY: &str = "*";

/// How long after its time a fault still strikes.
const LATE: Duration = Duration::from_millis(400);

/// What is done to a call or a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Part of the reply, then RST.
    Reset,
    /// Part of the reply, then an orderly end.
    EndOfFile,
    /// The reply's head, then random bytes in place of the rest.
    Garbage,
    /// The reply to the call before comes in front, so that all later calls get the reply of the one before.
    StaleReply,
    /// The reply with another sequence id.
    WrongSequence,
    /// The reply with another method's name.
    WrongMethod,
    /// Part of the reply, then nothing; the connection stays open.
    HalfOpen,
    /// The reply comes so much later.
    Slow(Duration),
    /// Half of what was sent reaches the gateway, then both connections end with RST.
    CutRequest,
    /// The gateway does not see the call; it is answered by a `TIOError` of this text and this `canRetry`.
    Answer(&'static str, bool),
    /// The gateway does not see the call; the reply has this body.
    Body(&'static [u8]),
    /// The gateway does not see the call; it is answered as one that the gateway does not know.
    UnknownMethod,
    /// The call waits until [`release`](super::thrift::ThriftProxy::release).
    Hold,
    /// The connection is accepted and never answered: no worker is free.
    Silent,
    /// The connection is accepted and closed at once: the queue is full.
    Close,
    /// All connections end and new ones are refused for so long: the gateway died and was started again.
    Refuse(Duration),
}

impl Fault {
    /// A stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset in a reply",
            Self::EndOfFile => "end of file in a reply",
            Self::Garbage => "garbage in a reply",
            Self::StaleReply => "the reply of the call before",
            Self::WrongSequence => "a reply with another sequence id",
            Self::WrongMethod => "a reply with another method",
            Self::HalfOpen => "half-open connection",
            Self::Slow(_) => "slow answer",
            Self::CutRequest => "reset in a request",
            Self::Answer(..) => "an error for an answer",
            Self::Body(_) => "a made-up answer",
            Self::UnknownMethod => "an unknown method",
            Self::Hold => "held",
            Self::Silent => "accepted, never answered",
            Self::Close => "accepted, closed at once",
            Self::Refuse(_) => "connections end and are refused",
        }
    }

    /// True for what happens to a connection before its first call.
    pub fn meets_connections(self) -> bool {
        matches!(self, Self::Silent | Self::Close)
    }

    /// What a gateway, a region server or the network between may do at any time.
    pub fn all() -> Vec<Fault> {
        vec![
            Self::Reset,
            Self::EndOfFile,
            Self::Garbage,
            Self::StaleReply,
            Self::WrongSequence,
            Self::WrongMethod,
            Self::HalfOpen,
            Self::Slow(Duration::from_millis(1500)),
            Self::CutRequest,
            Self::Answer("java.io.IOException: Failed 3 actions: NotServingRegionException: 3 times", true),
            Self::Answer("org.apache.hadoop.hbase.RegionTooBusyException: Over memstore limit", true),
            Self::Silent,
            Self::Close,
            Self::Refuse(Duration::from_millis(2500)),
        ]
    }
}

/// A fault for certain calls of a method, counted from 1 over all connections.
#[derive(Debug, Clone)]
pub struct Scripted {
    /// The method, [`CONNECT`] or [`ANY`].
    pub method: &'static str,
    /// The calls.
    pub calls: Range<u64>,
    /// What they meet.
    pub fault: Fault,
}

/// What a proxy does. The default does nothing.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Seed of everything random.
    pub seed: u64,
    /// Faults for certain calls; the first that fits is taken.
    pub scripted: Vec<Scripted>,
    /// Faults per minute besides; 0 is none. They come in bursts, as independent events do.
    pub per_minute: u32,
    /// What is drawn from for those.
    pub kinds: Vec<Fault>,
}

impl Plan {
    /// One fault for one call.
    pub fn once(method: &'static str, call: u64, fault: Fault) -> Plan {
        Plan::calls(method, call..call + 1, fault)
    }

    /// One fault for several calls.
    pub fn calls(method: &'static str, calls: Range<u64>, fault: Fault) -> Plan {
        Plan {
            seed: call_seed(method, calls.start),
            scripted: vec![Scripted { method, calls, fault }],
            ..Plan::default()
        }
    }

    /// So many faults per minute of every kind.
    pub fn random(seed: u64, per_minute: u32) -> Plan {
        Plan { seed, per_minute, kinds: Fault::all(), ..Plan::default() }
    }
}

fn call_seed(method: &str, call: u64) -> u64 {
    method.bytes().fold(call, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)))
}

/// Draws what the plan says.
#[derive(Debug)]
pub struct Draw {
    plan: Plan,
    /// The only source of chance.
    pub dice: Dice,
    due: Instant,
    /// A fault drawn at a call that the next connection meets.
    next_connection: Option<Fault>,
}

impl Draw {
    /// From the beginning of the plan.
    pub fn new(plan: Plan) -> Draw {
        let mut draw = Draw { dice: Dice(plan.seed), due: Instant::now(), next_connection: None, plan };
        let first = draw.gap();
        draw.due += first;
        draw
    }

    /// The fault of call number `number` of this method, if any. A fault of connections that is drawn at a call ends the
    /// connection, so that there is a next one.
    pub fn fault(&mut self, method: &str, number: u64) -> Option<Fault> {
        let fits =
            |s: &&Scripted| (s.method == method || s.method == ANY && method != CONNECT) && s.calls.contains(&number);
        if let Some(scripted) = self.plan.scripted.iter().find(fits) {
            return Some(scripted.fault);
        }
        if method == CONNECT {
            return self.next_connection.take();
        }
        if self.plan.per_minute == 0 || self.plan.kinds.is_empty() || Instant::now() < self.due {
            return None;
        }
        let late = self.due.elapsed();
        let gap = self.gap();
        self.due += gap;
        if late > LATE {
            // It struck while nobody called. Were it kept, the first call after every pause would fail.
            self.due = self.due.max(Instant::now() + gap);
            return None;
        }
        let kind = self.plan.kinds[self.dice.below(self.plan.kinds.len())];
        if kind.meets_connections() {
            self.next_connection = Some(kind);
        }
        Some(kind)
    }

    /// The time to the next fault: exponentially distributed.
    fn gap(&mut self) -> Duration {
        if self.plan.per_minute == 0 {
            return Duration::ZERO;
        }
        let uniform = (self.dice.below(1_000_000) + 1) as f64 / 1e6;
        Duration::from_secs_f64((60.0 / f64::from(self.plan.per_minute) * -uniform.ln()).min(60.0))
    }
}
