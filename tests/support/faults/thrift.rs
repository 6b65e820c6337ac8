//! Between the program and a Thrift gateway.
//!
//! Requests and replies alternate on a connection, so where one begins is where the other has ended, and the head of an
//! unframed binary message (`80 01 00 TYPE`, length and text of the method's name, sequence id) is all that is read.
//! Other transports pass through untouched, faults of connections and of the middle of replies included.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::plan::{CONNECT, Draw, Fault, Plan};

/// How often a thread that waits looks whether it is over.
const TICK: Duration = Duration::from_millis(5);
/// What is read at once.
const PIECE: usize = 64 << 10;
/// The longest reply that can be sent a second time.
const KEPT: usize = 4 << 20;
/// The type of a message that is a result, or an exception that the service declares.
const REPLY: u8 = 2;
/// The type of a message that is an exception of the gateway itself.
const EXCEPTION: u8 = 3;
/// No test waits longer for a call to come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A gateway's double at a port of its own.
#[derive(Debug)]
pub struct ThriftProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: String,
    state: Mutex<State>,
    changed: Condvar,
    over: AtomicBool,
}

#[derive(Debug)]
struct State {
    draw: Draw,
    calls: BTreeMap<String, u64>,
    injected: BTreeMap<&'static str, u64>,
    log: Vec<String>,
    begun: Instant,
    /// Both ends of every connection, by number.
    open: BTreeMap<u64, (TcpStream, TcpStream)>,
    next: u64,
    refused_until: Option<Instant>,
    released: bool,
    /// Nobody calls any more.
    finished: bool,
}

impl ThriftProxy {
    /// A proxy for `HOST:PORT`.
    pub fn start(target: &str, plan: Plan) -> ThriftProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            draw: Draw::new(plan),
            calls: BTreeMap::new(),
            injected: BTreeMap::new(),
            log: Vec::new(),
            begun: Instant::now(),
            open: BTreeMap::new(),
            next: 0,
            refused_until: None,
            released: false,
            finished: false,
        };
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            over: AtomicBool::new(false),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&shared, listener, address))
        };
        ThriftProxy { address, shared, acceptor: Some(acceptor) }
    }

    /// `HOST:PORT` for `--gateway`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Another plan from now on; what was counted stays.
    pub fn set_plan(&self, plan: Plan) {
        self.shared.state().draw = Draw::new(plan);
    }

    /// Faults that were injected, by name.
    pub fn injected(&self) -> BTreeMap<&'static str, u64> {
        self.shared.state().injected.clone()
    }

    /// How many they are.
    pub fn total(&self) -> u64 {
        self.shared.state().injected.values().sum()
    }

    /// When what was injected into which call.
    pub fn log(&self) -> Vec<String> {
        self.shared.state().log.clone()
    }

    /// Calls of a method so far.
    pub fn calls(&self, method: &str) -> u64 {
        self.shared.state().calls.get(method).copied().unwrap_or(0)
    }

    /// Methods that were called, [`CONNECT`] among them.
    pub fn methods(&self) -> Vec<String> {
        self.shared.state().calls.keys().cloned().collect()
    }

    /// Waits for call number `number` of a method; false when it does not come.
    pub fn wait_for(&self, method: &str, number: u64) -> bool {
        let end = Instant::now() + PATIENCE;
        while self.calls(method) < number {
            if Instant::now() > end || self.shared.state().finished {
                return false;
            }
            std::thread::sleep(TICK);
        }
        true
    }

    /// The program has ended: nobody needs to wait for its calls.
    pub fn finish(&self) {
        self.shared.state().finished = true;
    }

    /// Lets every held call go on, and holds none any more.
    pub fn release(&self) {
        self.shared.state().released = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for ThriftProxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.release();
        self.shared.end_all();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Counts a call and says what it meets.
    fn draw(&self, method: &str) -> Option<Fault> {
        let mut state = self.state();
        let number = state.calls.entry(method.to_owned()).or_default();
        *number += 1;
        let number = *number;
        let fault = state.draw.fault(method, number)?;
        *state.injected.entry(fault.name()).or_default() += 1;
        let line = format!("{:.1} s: {} at {method} {number}", state.begun.elapsed().as_secs_f64(), fault.name());
        state.log.push(line);
        Some(fault)
    }

    fn below(&self, end: usize) -> usize {
        self.state().draw.dice.below(end.max(1))
    }

    /// Ends every connection in order.
    fn end_all(&self) {
        for (_, (client, server)) in std::mem::take(&mut self.state().open) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }

    fn hold(&self) {
        let mut state = self.state();
        while !state.released && !self.is_over() {
            state = self.changed.wait_timeout(state, TICK * 10).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Accepts connections; without a listener while they are to be refused.
fn accept(shared: &Arc<Shared>, listener: TcpListener, address: SocketAddr) {
    let mut listener = Some(listener);
    while !shared.is_over() {
        let refused = shared.state().refused_until.is_some_and(|until| until > Instant::now());
        if refused {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).ok();
        }
        let Some(open) = &listener else {
            std::thread::sleep(TICK);
            continue;
        };
        open.set_nonblocking(true).unwrap();
        match open.accept() {
            Ok((client, _)) => {
                client.set_nonblocking(false).unwrap();
                let shared = Arc::clone(shared);
                std::thread::spawn(move || connect(&shared, client));
            }
            Err(_) => std::thread::sleep(TICK),
        }
    }
}

fn connect(shared: &Arc<Shared>, client: TcpStream) {
    match shared.draw(CONNECT) {
        Some(Fault::Silent) => return swallow(shared, &client),
        Some(Fault::Close) => {
            let _ = client.shutdown(Shutdown::Write);
            let _ = client.set_read_timeout(Some(Duration::from_secs(1)));
            // Bytes left unread would turn the end into a reset.
            while matches!((&client).read(&mut [0; 4096]), Ok(1..)) {}
            return;
        }
        _ => {}
    }
    let Ok(server) = TcpStream::connect(&shared.target) else {
        reset(client);
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let number = {
        let mut state = shared.state();
        state.next += 1;
        let number = state.next;
        state.open.insert(number, (client.try_clone().unwrap(), server.try_clone().unwrap()));
        number
    };
    let exchange = Arc::new(Mutex::new(Exchange::default()));
    let line = Line { shared: Arc::clone(shared), number, client, server, exchange };
    let down = line.clone();
    std::thread::spawn(move || down.replies());
    line.requests();
}

/// Reads what comes, and says nothing, until the other side gives up.
fn swallow(shared: &Shared, client: &TcpStream) {
    let _ = client.set_read_timeout(Some(TICK * 10));
    while !shared.is_over() {
        match { client }.read(&mut [0; PIECE]) {
            Ok(1..) => {}
            Err(error) if is_timeout(&error) => {}
            _ => return,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Ends a connection by RST, once its other handles are dropped too.
fn reset(stream: TcpStream) {
    // The standard library cannot set SO_LINGER.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _inside = runtime.enter();
    let _ = stream.set_nonblocking(true);
    if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
        let _ = stream.set_zero_linger();
    }
}

/// What goes on on a connection.
#[derive(Debug, Default)]
struct Exchange {
    /// A request is on its way, no byte of its reply was seen.
    waiting: bool,
    fault: Option<Fault>,
    /// Bytes of the head of the request, which the reply's head has too.
    head: usize,
    sequence: [u8; 4],
    /// The reply so far, and the one before; empty when too long.
    reply: Vec<u8>,
    previous: Vec<u8>,
    passed: usize,
    /// Where the reply is cut.
    cut: usize,
    /// Nothing is passed on any more.
    dead: bool,
}

/// One connection.
#[derive(Debug)]
struct Line {
    shared: Arc<Shared>,
    number: u64,
    client: TcpStream,
    server: TcpStream,
    exchange: Arc<Mutex<Exchange>>,
}

impl Clone for Line {
    fn clone(&self) -> Self {
        let (client, server) = (self.client.try_clone().unwrap(), self.server.try_clone().unwrap());
        Line {
            shared: Arc::clone(&self.shared),
            number: self.number,
            client,
            server,
            exchange: Arc::clone(&self.exchange),
        }
    }
}

/// The body of a `TApplicationException` for a method that the gateway does not have.
fn unknown_method(method: &str) -> Vec<u8> {
    let text = format!("Invalid method name: '{method}'");
    let mut body = vec![11, 0, 1];
    body.extend((text.len() as u32).to_be_bytes());
    body.extend(text.as_bytes());
    body.extend([8, 0, 2, 0, 0, 0, 1, 0]);
    body
}

/// The body of a reply that is a `TIOError`: field 1 of the result, a structure of text and flag.
fn io_error(text: &str, can_retry: bool) -> Vec<u8> {
    let mut body = vec![12, 0, 1, 11, 0, 1];
    body.extend((text.len() as u32).to_be_bytes());
    body.extend(text.as_bytes());
    body.extend([2, 0, 2, u8::from(can_retry), 0, 0]);
    body
}

/// Whether a direction goes on.
enum Next {
    Piece,
    End,
}

impl Line {
    fn exchange(&self) -> MutexGuard<'_, Exchange> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        self.shared.state().open.remove(&self.number);
    }

    /// An orderly end of both connections.
    fn end(&self) {
        self.forget();
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    /// RST to the client; the gateway sees an end.
    fn reset(&self) {
        self.forget();
        let _ = self.server.shutdown(Shutdown::Both);
        // Wakes the thread that reads from it, whose handle has to go first.
        let _ = self.client.shutdown(Shutdown::Read);
        if let Ok(client) = self.client.try_clone() {
            reset(client);
        }
    }

    /// From the client to the gateway.
    fn requests(&self) {
        let mut piece = vec![0; PIECE];
        while let Ok(count @ 1..) = (&self.client).read(&mut piece) {
            let mut bytes = piece[..count].to_vec();
            if let Next::End = self.request(&mut bytes) {
                break;
            }
        }
        if !matches!(self.exchange().fault, Some(Fault::Reset | Fault::CutRequest)) {
            self.end();
        }
    }

    fn request(&self, bytes: &mut Vec<u8>) -> Next {
        let (is_new, dead) = {
            let exchange = self.exchange();
            (!exchange.waiting, exchange.dead)
        };
        if dead {
            return Next::Piece;
        }
        if is_new && let Some(method) = self.begin(bytes) {
            let fault = self.shared.draw(&method);
            self.exchange().fault = fault;
            match fault {
                Some(Fault::Hold) => self.shared.hold(),
                Some(Fault::Answer(text, can_retry)) => return self.answer(bytes, REPLY, &io_error(text, can_retry)),
                Some(Fault::Body(body)) => return self.answer(bytes, REPLY, body),
                Some(Fault::UnknownMethod) => return self.answer(bytes, EXCEPTION, &unknown_method(&method)),
                Some(Fault::Silent | Fault::Close) => return Next::End,
                Some(Fault::CutRequest) => {
                    let _ = (&self.server).write_all(&bytes[..bytes.len() / 2]);
                    self.reset();
                    return Next::End;
                }
                Some(Fault::Refuse(time)) => {
                    self.shared.state().refused_until = Some(Instant::now() + time);
                    // The listener is gone before the client comes again.
                    std::thread::sleep(TICK * 2);
                    self.shared.end_all();
                    return Next::End;
                }
                _ => {}
            }
        }
        self.exchange().waiting = true;
        if (&self.server).write_all(bytes).is_ok() { Next::Piece } else { Next::End }
    }

    /// Reads the head of a new request, to its end; `None` for what is none.
    fn begin(&self, bytes: &mut Vec<u8>) -> Option<String> {
        loop {
            if bytes.len() >= 4 && bytes[..4] != [0x80, 1, 0, 1] {
                return None;
            }
            if let Some(length) = bytes.get(4..8) {
                let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
                if let Some(sequence) = bytes.get(8 + length..12 + length) {
                    let mut exchange = self.exchange();
                    exchange.head = 12 + length;
                    exchange.sequence = sequence.try_into().unwrap();
                    return Some(String::from_utf8_lossy(&bytes[8..8 + length]).into_owned());
                }
            }
            let mut more = [0; PIECE];
            let Ok(count @ 1..) = (&self.client).read(&mut more) else { return None };
            bytes.extend(&more[..count]);
        }
    }

    /// A reply in place of the gateway's.
    fn answer(&self, request: &[u8], kind: u8, body: &[u8]) -> Next {
        // A request of more than one piece ends where the client begins to wait.
        let _ = self.client.set_read_timeout(Some(Duration::from_millis(200)));
        while matches!((&self.client).read(&mut [0; PIECE]), Ok(1..)) {}
        let _ = self.client.set_read_timeout(None);
        let mut reply = request[..self.exchange().head].to_vec();
        reply[3] = kind;
        reply.extend(body);
        if (&self.client).write_all(&reply).is_ok() { Next::Piece } else { Next::End }
    }

    /// From the gateway to the client.
    fn replies(&self) {
        let mut piece = vec![0; PIECE];
        while let Ok(count @ 1..) = (&self.server).read(&mut piece) {
            if let Next::End = self.reply(piece[..count].to_vec()) {
                return;
            }
        }
        if !self.exchange().dead {
            self.end();
        }
    }

    fn reply(&self, mut bytes: Vec<u8>) -> Next {
        let last = bytes.len() < PIECE;
        let cut = self.shared.below(if self.shared.below(2) == 0 { bytes.len() } else { 4 * PIECE });
        let mut exchange = self.exchange();
        let first = std::mem::replace(&mut exchange.waiting, false);
        if first {
            exchange.previous = std::mem::take(&mut exchange.reply);
            (exchange.passed, exchange.cut) = (0, cut);
        }
        if exchange.passed + bytes.len() <= KEPT {
            exchange.reply.extend(&bytes);
        } else {
            exchange.reply.clear();
        }
        let (fault, passed) = (exchange.fault, exchange.passed);
        exchange.passed += bytes.len();
        match fault {
            Some(Fault::Reset | Fault::EndOfFile | Fault::HalfOpen) if passed + bytes.len() > exchange.cut || last => {
                // At least a byte is missing.
                let kept = exchange.cut.saturating_sub(passed).min(bytes.len() - 1);
                exchange.dead = true;
                drop(exchange);
                return self.cut(&bytes[..kept], fault);
            }
            Some(Fault::Slow(time)) if first => {
                drop(exchange);
                std::thread::sleep(time);
            }
            Some(Fault::Garbage) if exchange.head > 0 => {
                let from = if first { exchange.head.min(bytes.len()) } else { 0 };
                drop(exchange);
                bytes[from..].fill_with(|| self.shared.below(256) as u8);
            }
            Some(Fault::StaleReply) if first && !exchange.previous.is_empty() => {
                let mut stale = exchange.previous.clone();
                stale.extend(&bytes);
                bytes = stale;
            }
            Some(Fault::WrongSequence | Fault::StaleReply)
                if first && bytes.len() >= exchange.head && exchange.head > 0 =>
            {
                let other = i32::from_be_bytes(exchange.sequence).wrapping_add(1).to_be_bytes();
                bytes[exchange.head - 4..exchange.head].copy_from_slice(&other);
            }
            Some(Fault::WrongMethod) if first && bytes.len() >= exchange.head && exchange.head > 12 => {
                bytes[8] ^= 1;
            }
            _ => {}
        }
        if (&self.client).write_all(&bytes).is_ok() { Next::Piece } else { Next::End }
    }

    /// Sends the part of the reply that is left of it, and ends as the fault says.
    fn cut(&self, part: &[u8], fault: Option<Fault>) -> Next {
        let _ = (&self.client).write_all(part);
        match fault {
            Some(Fault::Reset) => {
                // What was sent would be lost with the connection.
                std::thread::sleep(TICK);
                self.reset();
            }
            Some(Fault::EndOfFile) => self.end(),
            // The client ends it, or the proxy.
            _ => {}
        }
        Next::End
    }
}
