//! A proxy between a client and a real HTTP server that misbehaves as told, and the same way again for the same seed.
//!
//! It takes whole requests and whole answers apart, so that a fault hits one request and leaves the others alone. Plain
//! threads, HTTP/1.1, bodies in memory.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::synthetic::Dice;

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 500 InternalError; the server never hears of it.
    InternalError,
    /// 503 SlowDown; the server never hears of it.
    SlowDown,
    /// 403 ExpiredToken; the server never hears of it.
    ExpiredToken,
    /// This status, code and message; the server never hears of it.
    Refused(&'static str, &'static str, &'static str),
    /// With a body: reset while the request is being sent. Without: two thirds of the answer come.
    Reset,
    /// The server did it, and its answer ends in the middle: of the body, where it has one.
    AnswerCut,
    /// The server did it, and the connection ends without an answer.
    AnswerLost,
    /// The server did it, and the answer never comes.
    AnswerStalled,
    /// The answer comes after so many milliseconds.
    Slow(u64),
    /// The server never hears of it, and no answer comes.
    Stall,
}

impl Fault {
    /// A name for counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::InternalError => "500",
            Self::SlowDown => "503 SlowDown",
            Self::ExpiredToken => "403 ExpiredToken",
            Self::Refused(status, ..) => status,
            Self::Reset => "reset",
            Self::AnswerCut => "answer cut",
            Self::AnswerLost => "answer lost",
            Self::AnswerStalled => "answer stalled",
            Self::Slow(_) => "slow",
            Self::Stall => "stall",
        }
    }

    fn answer(self) -> Option<String> {
        let (status, code, message) = match self {
            Self::InternalError => ("500 Internal Server Error", "InternalError", "We encountered an internal error."),
            Self::SlowDown => ("503 Service Unavailable", "SlowDown", "Please reduce your request rate."),
            Self::ExpiredToken => ("403 Forbidden", "ExpiredToken", "The provided token has expired."),
            Self::Refused(status, code, message) => (status, code, message),
            _ => return None,
        };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        Some(format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }
}

/// A fault for some of the requests that match.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What happens.
    pub fault: Fault,
    /// `PUT`, `GET`, …; empty: any.
    pub method: &'static str,
    /// What the path with its query contains; empty: any.
    pub path: &'static str,
    /// A header that the request carries, in lower case.
    pub with: Option<&'static str>,
    /// A header that it does not carry.
    pub without: Option<&'static str>,
    /// So many matching requests pass first.
    pub after: usize,
    /// So many are hit then.
    pub times: usize,
}

impl Rule {
    /// Every request.
    pub fn all(fault: Fault) -> Self {
        Self { fault, method: "", path: "", with: None, without: None, after: 0, times: usize::MAX }
    }

    /// Requests of a method whose path contains the text.
    pub fn on(fault: Fault, method: &'static str, path: &'static str) -> Self {
        Self { method, path, ..Self::all(fault) }
    }

    /// The same for requests that carry a header.
    pub fn with(self, header: &'static str) -> Self {
        Self { with: Some(header), ..self }
    }

    /// The same for requests that do not carry it.
    pub fn without(self, header: &'static str) -> Self {
        Self { without: Some(header), ..self }
    }

    /// The same once so many have passed.
    pub fn after(self, after: usize) -> Self {
        Self { after, ..self }
    }

    /// The same for so many only.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }
}

/// Faults at random moments.
#[derive(Debug, Clone)]
pub struct Mix {
    /// Faults a minute on average, at moments that are independent of each other.
    pub per_minute: f64,
    /// Which ones, each as often as the others; name one twice to have it twice as often.
    pub faults: Vec<Fault>,
}

impl Mix {
    /// What a store on a bad day does and a client must survive without giving up.
    pub fn survivable(per_minute: f64) -> Self {
        let faults = vec![
            Fault::InternalError,
            Fault::SlowDown,
            Fault::Reset,
            Fault::AnswerCut,
            Fault::AnswerLost,
            Fault::Slow(1_500),
        ];
        Self { per_minute, faults }
    }
}

/// Everything that a proxy does to its requests.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    /// Of the random ones.
    pub seed: u64,
    /// Those by rule; the first that matches counts.
    pub rules: Vec<Rule>,
    /// Those at random.
    pub mix: Option<Mix>,
    /// A header that is taken out of every request, in lower case.
    pub without_header: Option<&'static str>,
}

impl FaultPlan {
    /// One rule.
    pub fn one(rule: Rule) -> Self {
        Self { rules: vec![rule], ..Self::default() }
    }

    /// A mix alone.
    pub fn mixed(seed: u64, mix: Mix) -> Self {
        Self { seed, mix: Some(mix), ..Self::default() }
    }
}

/// A running proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct HttpProxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    target: String,
    ended: AtomicBool,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    wanted: FaultPlan,
    /// Matching requests of each rule.
    seen: Vec<usize>,
    dice: Dice,
    next: Option<Instant>,
    requests: u64,
    injected: BTreeMap<&'static str, u64>,
    last: Vec<String>,
}

impl Plan {
    fn new(wanted: FaultPlan) -> Self {
        let mut plan = Self {
            seen: vec![0; wanted.rules.len()],
            dice: Dice(wanted.seed),
            next: None,
            requests: 0,
            injected: BTreeMap::new(),
            last: Vec::new(),
            wanted,
        };
        // The first one is due at once: a quick run meets one too.
        plan.next = plan.wanted.mix.as_ref().map(|_| Instant::now());
        plan
    }

    /// When the next random fault is due: waiting times of a Poisson process.
    fn draw(&mut self) {
        let Some(mix) = &self.wanted.mix else { return };
        let uniform = (self.dice.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let minutes = -(1.0 - uniform).ln() / mix.per_minute;
        self.next = Some(Instant::now() + Duration::from_secs_f64(minutes * 60.0));
    }

    fn fault(&mut self, method: &str, path: &str, head: &[String]) -> Option<Fault> {
        self.requests += 1;
        let mut found = None;
        for (rule, seen) in self.wanted.rules.iter().zip(&mut self.seen) {
            let fits = (rule.method.is_empty() || rule.method == method)
                && path.contains(rule.path)
                && rule.with.is_none_or(|name| header(head, name).is_some())
                && rule.without.is_none_or(|name| header(head, name).is_none());
            *seen += usize::from(fits);
            if fits && found.is_none() && *seen > rule.after && *seen - rule.after <= rule.times {
                found = Some(rule.fault);
            }
        }
        if found.is_none()
            && self.next.is_some_and(|due| due <= Instant::now())
            && let Some(mix) = &self.wanted.mix
        {
            found = Some(mix.faults[self.dice.below(mix.faults.len())]);
            self.draw();
        }
        if let Some(fault) = found {
            *self.injected.entry(fault.name()).or_default() += 1;
            self.last.push(format!("{} {method} {path}", fault.name()));
        }
        found
    }
}

impl HttpProxy {
    /// Starts a proxy in front of `HOST:PORT`.
    pub fn start(target: &str, plan: FaultPlan) -> HttpProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            target: target.to_owned(),
            ended: AtomicBool::new(false),
            plan: Mutex::new(Plan::new(plan)),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                let state = Arc::clone(&shared);
                // A connection that breaks is what this is for.
                std::thread::spawn(move || drop(state.serve(client)));
            }
        });
        HttpProxy { port, state }
    }

    /// `http://HOST:PORT`, as an endpoint.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Goes on by another plan; counters begin anew.
    pub fn set(&self, plan: FaultPlan) {
        *self.state.plan.lock().unwrap() = Plan::new(plan);
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.state.plan.lock().unwrap().requests
    }

    /// Faults so far, by name.
    pub fn injected(&self) -> BTreeMap<&'static str, u64> {
        self.state.plan.lock().unwrap().injected.clone()
    }

    /// All faults so far.
    pub fn count(&self) -> u64 {
        self.injected().values().sum()
    }

    /// Each fault with the request that it hit, in order.
    pub fn log(&self) -> Vec<String> {
        self.state.plan.lock().unwrap().last.clone()
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut writer = client.try_clone()?;
        let mut reader = BufReader::with_capacity(1 << 16, client);
        while let Some(head) = read_head(&mut reader)? {
            let request_line = head.first().cloned().unwrap_or_default();
            let mut words = request_line.split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let (fault, without) = {
                let mut plan = self.plan.lock().unwrap();
                (plan.fault(method, path, &head), plan.wanted.without_header)
            };
            let length = body_length(&head);
            if fault == Some(Fault::Reset) && length > 0 {
                // Closing with bytes unread makes the kernel send a reset.
                return Ok(());
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            if let Some(answer) = fault.and_then(Fault::answer) {
                writer.write_all(answer.as_bytes())?;
                continue;
            }
            if fault == Some(Fault::Stall) {
                return self.hang(&mut reader);
            }
            let answer = self.forward(&head, without, &body, method)?;
            match fault {
                Some(Fault::AnswerLost) => return Ok(()),
                Some(Fault::AnswerStalled) => return self.hang(&mut reader),
                Some(Fault::Reset) => return writer.write_all(&answer[..answer.len() * 2 / 3]),
                Some(Fault::AnswerCut) => return writer.write_all(&answer[..middle(&answer)]),
                Some(Fault::Slow(pause)) => std::thread::sleep(Duration::from_millis(pause)),
                _ => {}
            }
            writer.write_all(&answer)?;
        }
        Ok(())
    }

    /// Until the client gives up.
    fn hang(&self, reader: &mut BufReader<TcpStream>) -> io::Result<()> {
        io::copy(reader, &mut io::sink()).map(drop)
    }

    /// The server's whole answer, as it goes to the client.
    fn forward(&self, head: &[String], without: Option<&str>, body: &[u8], method: &str) -> io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(&self.target)?;
        server.set_nodelay(true)?;
        let mut text = String::new();
        for line in head {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            if name != "connection" && Some(name.as_str()) != without {
                text += &format!("{line}\r\n");
            }
        }
        server.write_all(format!("{text}Connection: close\r\n\r\n").as_bytes())?;
        server.write_all(body)?;
        let mut reader = BufReader::with_capacity(1 << 16, server);
        loop {
            let head = read_head(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let status = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
            if status == "100" {
                continue;
            }
            let mut body = Vec::new();
            let bodiless = method == "HEAD" || status == "204" || status == "304";
            if !bodiless {
                read_body(&mut reader, &head, &mut body)?;
            }
            return Ok(put_together(&head, &body, bodiless));
        }
    }
}

/// In the middle of an answer's body, or of its head when it has no body.
fn middle(answer: &[u8]) -> usize {
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |end| end + 4);
    if body < answer.len() { (body + answer.len()) / 2 } else { body / 2 }
}

/// An answer with its length up front instead of chunks, so that the client keeps the connection.
fn put_together(head: &[String], body: &[u8], bodiless: bool) -> Vec<u8> {
    let mut text = String::new();
    for line in head {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let keep = bodiless || !["content-length", "transfer-encoding"].contains(&name.as_str());
        if keep && name != "connection" {
            text += &format!("{line}\r\n");
        }
    }
    if !bodiless {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    [text.as_bytes(), b"\r\n", body].concat()
}

/// The lines of a head; `None` at the end of the connection.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() && !lines.is_empty() {
            return Ok(Some(lines));
        }
        if !line.is_empty() {
            lines.push(line.to_owned());
        }
    }
}

fn header<'a>(head: &'a [String], name: &str) -> Option<&'a str> {
    head.iter()
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.trim())
}

fn body_length(head: &[String]) -> usize {
    header(head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0)
}

fn read_body(reader: &mut impl BufRead, head: &[String], body: &mut Vec<u8>) -> io::Result<()> {
    if header(head, "transfer-encoding").is_some_and(|how| how.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = line.trim().split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            let at = body.len();
            body.resize(at + size, 0);
            reader.read_exact(&mut body[at..])?;
            line.clear();
            reader.read_line(&mut line)?;
            if size == 0 {
                return Ok(());
            }
        }
    }
    if header(head, "content-length").is_some() {
        body.resize(body_length(head), 0);
        return reader.read_exact(body);
    }
    reader.read_to_end(body).map(drop)
}
