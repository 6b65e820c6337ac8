//! Ports that speak another protocol than Thrift: named within seconds, whatever `--retry-for` says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::scene::small;
use crate::support::ark::{self, Repository, table_flags};
use crate::support::bed::Bed;

/// A server on a port of its own that does this with every connection.
fn server(serve: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A message of a SASL negotiation.
fn sasl(status: u8, text: &str) -> Vec<u8> {
    [&[status][..], &(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

/// Answers once a whole head has come, as servers do that read lines.
fn patient_http(mut stream: TcpStream) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        head.extend(byte);
    }
    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
}

/// As Java's `TSaslTransport` answers a first byte that is no status.
fn outspoken_sasl(mut stream: TcpStream) {
    let mut head = [0; 5];
    if stream.read_exact(&mut head).is_ok() {
        let _ = stream.write_all(&sasl(4, &format!("Invalid status {}", head[0].cast_signed())));
    }
}

/// Waits for a negotiation to start and does not answer anything else.
fn silent_sasl(mut stream: TcpStream) {
    let mut head = [0; 5];
    if stream.read_exact(&mut head).is_ok() && head[0] == 1 {
        let _ = stream.write_all(&sasl(3, "Unsupported mechanism type NONE"));
    }
    // Until the other side ends it.
    while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {}
}

/// `openssl s_server`, ended with the test.
struct Tls(Child, String);

impl Tls {
    fn start(folder: &Path) -> Tls {
        let (key, certificate) = (folder.join("key.pem"), folder.join("cert.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-accept", &address, "-key"])
            .arg(&key)
            .arg("-cert")
            .arg(&certificate)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(&address).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Tls(child, address)
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn assert_named(gateway: &str, text: &str) {
    let bed = Bed::shared();
    let (tables, _) = small(bed);
    let run = ark::run(&["check", "--json", "--gateway", gateway]);
    assert!(run.err.contains(text), "{text:?} is not in: {}", run.err);
    run.expect(2);
    // A good gateway beside it does not make it a good address.
    let repository = Repository::default();
    let good = bed.thrift2_address();
    let flags = table_flags(tables);
    let mut words = vec!["--gateway", &good, "--gateway", gateway];
    words.extend(flags.iter().map(String::as_str));
    let run = repository.run("backup", &words);
    assert!(run.err.contains(text), "{text:?} is not in: {}", run.err);
    run.expect(2);
    assert!(!repository.path().join("repository.json").exists());
}

#[test]
fn a_port_that_speaks_http_is_named() {
    let bed = Bed::shared();
    let name = bed.unique("http");
    let real = bed.listener(&format!("gateway start {name} 2 0 hbase.regionserver.thrift.http=true"));
    assert_named(&real, "speaks HTTP, which is not supported");
    assert_named(&server(patient_http), "speaks HTTP, which is not supported");
    assert_named(&format!("http://{real}"), "Thrift over HTTP is not supported; write HOST:PORT");
    bed.must(&format!("gateway stop {name}"));
}

#[test]
fn a_port_that_speaks_tls_is_named() {
    let bed = Bed::shared();
    let folder = tempfile::tempdir().unwrap();
    assert_named(&Tls::start(folder.path()).1, "speaks TLS, which is not supported");
    let store = folder.path().join("keys.p12");
    let made = Command::new("keytool")
        .args(["-genkeypair", "-alias", "gateway", "-keyalg", "RSA", "-dname", "CN=localhost", "-storetype", "PKCS12"])
        .args(["-storepass", "secret", "-keypass", "secret", "-keystore"])
        .arg(&store)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let name = bed.unique("https");
    let real = bed.listener(&format!(
        "gateway start {name} 2 0 hbase.regionserver.thrift.http=true hbase.thrift.ssl.enabled=true \
         hbase.thrift.ssl.keystore.store={} hbase.thrift.ssl.keystore.password=secret \
         hbase.thrift.ssl.keystore.keypassword=secret hbase.thrift.ssl.keystore.type=PKCS12",
        store.display()
    ));
    assert_named(&real, "speaks TLS, which is not supported");
    bed.must(&format!("gateway stop {name}"));
}

#[test]
fn a_port_that_asks_for_sasl_is_named() {
    assert_named(&server(outspoken_sasl), "asks for SASL (Kerberos), which is not supported");
    assert_named(&server(outspoken_sasl), "It says: Invalid status -128");
    assert_named(&server(silent_sasl), "It says: Unsupported mechanism type NONE");
}
