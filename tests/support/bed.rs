//! A running HBase with both Thrift gateways, from `tests/testbed`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tsdb_ark::cluster::{Client, GatewayAddress, GatewayOptions, Gateways};

/// Resolving the class path on a machine that has nothing yet takes a minute or two.
const START_LIMIT: Duration = Duration::from_secs(420);
/// Longer than the slowest command, a merge or the start of a server.
const COMMAND_LIMIT: Duration = Duration::from_secs(200);

/// One test bed. What happens in it is listed in `tests/testbed/README.md`.
#[derive(Debug)]
pub struct Bed {
    info: Value,
    folder: PathBuf,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    /// The bed ends when this pipe does: at the latest with the test process.
    leash: Option<ChildStdin>,
}

impl Bed {
    /// The bed of this test process: the one behind the control port in `TSDB_ARK_BED`, else one that starts now.
    ///
    /// # Panics
    /// When there is none, with the end of its log.
    pub fn shared() -> &'static Bed {
        static SHARED: OnceLock<Bed> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("TSDB_ARK_BED") {
            Ok(port) => Bed::running(port.trim().parse().expect("TSDB_ARK_BED is the control port of a test bed")),
            Err(_) => Bed::own(&[]),
        })
    }

    /// An HBase 1.x: the one behind the control port in `TSDB_ARK_OLD_BED`, else one of the version in `TSDB_ARK_OLD_HBASE`
    /// (1.4) that starts now.
    pub fn old() -> &'static Bed {
        static OLD: OnceLock<Bed> = OnceLock::new();
        OLD.get_or_init(|| match std::env::var("TSDB_ARK_OLD_BED") {
            Ok(port) => Bed::running(port.trim().parse().expect("TSDB_ARK_OLD_BED is the control port of a test bed")),
            Err(_) => {
                let version = std::env::var("TSDB_ARK_OLD_HBASE").unwrap_or_else(|_| "1.4".into());
                let folder = tempfile::Builder::new().prefix("tsdb-ark-old-bed.").tempdir().unwrap().keep();
                Bed::start(&folder, &[], Some(&version))
            }
        })
    }

    fn running(control: u16) -> Bed {
        let lines = command(control, "info").expect("TSDB_ARK_BED names a test bed that does not answer");
        let info: Value = serde_json::from_str(&lines[0]).unwrap();
        let folder = PathBuf::from(info["folder"].as_str().unwrap());
        Bed { info, folder, process: None }
    }

    /// A bed for one test alone, in a folder of its own that goes with it. Options as in `fixture/Bed.java`: `rs=2`.
    pub fn own(options: &[&str]) -> Bed {
        let folder = tempfile::Builder::new().prefix("tsdb-ark-bed.").tempdir().unwrap().keep();
        Bed::own_in(&folder, options)
    }

    /// A bed in this folder; with `keep=yes` the next one there goes on from its data.
    pub fn own_in(folder: &Path, options: &[&str]) -> Bed {
        Bed::start(folder, options, None)
    }

    /// `version`: of HBase, where it is not that of all other beds.
    fn start(folder: &Path, options: &[&str], version: Option<&str>) -> Bed {
        let mut arguments: Vec<&str> = options.to_vec();
        if std::env::var("TSDB_ARK_BED_KEEP").is_ok_and(|v| v == "1") {
            eprintln!("the test bed stays in {}", folder.display());
            arguments.push("keep=yes");
        }
        let mut child = Command::new("bash")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/launch.sh"))
            .arg(folder)
            .args(arguments)
            .envs(version.map(|version| ("TSDB_ARK_HBASE", version)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash runs the test bed");
        let leash = child.stdin.take();
        let (sender, receiver) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let ready = output.lines().map_while(Result::ok).find(|line| line.starts_with('{'));
            // The receiver is gone when it stopped waiting.
            let _ = sender.send(ready);
        });
        let Ok(Some(line)) = receiver.recv_timeout(START_LIMIT) else {
            let log = tail(&folder.join("bed.log"));
            let _ = child.kill();
            panic!("the test bed did not start (scripts/install.sh bed installs what it needs); its log ends:\n{log}");
        };
        let info = serde_json::from_str(&line).unwrap();
        Bed { info, folder: folder.to_path_buf(), process: Some(Process { child, leash }) }
    }

    /// `HOST:PORT` of the Thrift2 gateway (buffered, binary).
    pub fn thrift2_address(&self) -> String {
        format!("127.0.0.1:{}", self.port_of("thrift2"))
    }

    /// `HOST:PORT` of the Thrift1 gateway (buffered, binary).
    pub fn thrift1_address(&self) -> String {
        format!("127.0.0.1:{}", self.port_of("thrift1"))
    }

    /// A client of the Thrift2 gateway.
    pub fn client(&self) -> Client {
        let address = GatewayAddress::parse(&self.thrift2_address()).unwrap();
        Gateways::new(vec![address], GatewayOptions::default(), Arc::new(AtomicBool::new(false))).unwrap().client()
    }

    /// `HOST:PORT` of ZooKeeper.
    pub fn zk_quorum(&self) -> String {
        format!("127.0.0.1:{}", self.port_of("zookeeper"))
    }

    /// The version of HBase, such as `2.6.1-hadoop3`.
    pub fn hbase_version(&self) -> &str {
        self.info["hbase"].as_str().unwrap()
    }

    /// Where the bed and its children keep data and logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn port_of(&self, what: &str) -> u16 {
        let port = self.info[what].as_u64().unwrap_or_else(|| panic!("this bed has no {what}: {}", self.info));
        u16::try_from(port).unwrap()
    }

    /// Runs a command on the control port and returns the lines of its answer.
    ///
    /// # Errors
    /// What the bed says when it refuses, or why it does not answer.
    pub fn control(&self, line: &str) -> Result<Vec<String>, String> {
        command(self.port_of("control"), line)
    }

    /// Runs a command that has to succeed.
    pub fn must(&self, line: &str) -> Vec<String> {
        self.control(line).unwrap_or_else(|error| panic!("the test bed refused `{line}`: {error}"))
    }

    /// Runs a command that starts a listener, and returns its `HOST:PORT`.
    pub fn listener(&self, line: &str) -> String {
        let lines = self.must(line);
        let port = lines.iter().find_map(|l| l.strip_prefix("port ")).expect("a listener has a port");
        format!("127.0.0.1:{port}")
    }

    /// A name that nothing else in the bed has, fit for a table.
    pub fn unique(&self, name: &str) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() % 1_000_000_000;
        format!("{name}-{}-{clock}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            drop(process.leash.take());
            let _ = process.child.wait();
        }
    }
}

fn command(port: u16, line: &str) -> Result<Vec<String>, String> {
    let read = || -> std::io::Result<Vec<String>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(COMMAND_LIMIT))?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        let mut lines = Vec::new();
        for answer in BufReader::new(stream).lines() {
            let answer = answer?;
            let last = answer == "ok" || answer.starts_with("err ");
            lines.push(answer);
            if last {
                break;
            }
        }
        Ok(lines)
    };
    let mut lines = read().map_err(|error| format!("the control port {port} does not answer: {error}"))?;
    match lines.pop() {
        Some(last) if last == "ok" => Ok(lines),
        Some(last) => Err(last.trim_start_matches("err ").to_owned()),
        None => Err("the bed ended".to_owned()),
    }
}

/// The last lines of a log.
pub fn tail(path: &Path) -> String {
    let mut bytes = Vec::new();
    match std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(40)..].join("\n")
        }
        Err(error) => format!("{}: {error}", path.display()),
    }
}
