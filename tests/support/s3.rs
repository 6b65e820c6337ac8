//! Real S3 servers: versitygw on a folder, and a Ceph with its RADOS gateway. `tests/testbed/s3` starts them.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path as ObjectPath;
use object_store::signer::{SignedUrlOptions, Signer};
use tsdb_ark::store::{RepositoryUrl, Store, StoreError, StoreOptions, Variables};

use super::bed::tail;
use super::http::{self, Reply};

/// The keys of every server here.
pub const KEYS: (&str, &str) = ("test-access-key", "test-secret-key");
/// Building versitygw takes four minutes on a machine that has nothing yet, starting a Ceph half a minute.
const START_LIMIT: Duration = Duration::from_secs(900);

/// A server of this process. It ends with the process, however that ends, because it hangs on a pipe.
#[derive(Debug)]
pub struct S3Server {
    /// `versitygw` or `radosgw`.
    pub name: &'static str,
    port: u16,
    folder: PathBuf,
    child: Child,
    leash: Option<ChildStdin>,
}

impl S3Server {
    /// The versitygw of this test process.
    pub fn versitygw() -> &'static S3Server {
        static SHARED: OnceLock<S3Server> = OnceLock::new();
        SHARED.get_or_init(|| S3Server::start("versitygw", &["http"]))
    }

    /// The RADOS gateway of this test process.
    pub fn radosgw() -> &'static S3Server {
        static SHARED: OnceLock<S3Server> = OnceLock::new();
        SHARED.get_or_init(|| S3Server::start("radosgw", &[&free_port().to_string()]))
    }

    /// A versitygw for one test that speaks TLS; its authority is [`S3Server::ca`].
    pub fn with_tls() -> S3Server {
        S3Server::start("versitygw", &["https"])
    }

    fn start(name: &'static str, more: &[&str]) -> S3Server {
        let folder = tempfile::Builder::new().prefix("tsdb-ark-s3.").tempdir().unwrap().keep();
        let port = free_port();
        let script = format!("{}/tests/testbed/s3/{name}.sh", env!("CARGO_MANIFEST_DIR"));
        let log = std::fs::File::create(folder.join("start.log")).unwrap();
        let mut child = Command::new("bash")
            .arg(script)
            .arg(&folder)
            .arg(port.to_string())
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("bash runs the server");
        let leash = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            // The receiver is gone when it stopped waiting.
            let _ = sender.send(output.lines().map_while(Result::ok).any(|line| line == "ready"));
        });
        if receiver.recv_timeout(START_LIMIT) != Ok(true) {
            drop(leash);
            let _ = child.wait();
            let log = tail(&folder.join("start.log"));
            panic!("{name} did not start (scripts/install.sh s3 installs what it needs); its log ends:\n{log}");
        }
        S3Server { name, port, folder, child, leash }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The certificate of the authority that signed the server's, with [`S3Server::with_tls`].
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The folder of a bucket, with versitygw.
    pub fn bucket_folder(&self, bucket: &str) -> PathBuf {
        self.folder.join("data").join(bucket)
    }

    /// A new bucket.
    pub fn bucket(&self, name: &str) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let bucket = format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        if self.ca().exists() {
            // `call` has no TLS. The server takes a folder for a bucket without an owner.
            std::fs::create_dir(self.bucket_folder(&bucket)).unwrap();
        } else {
            self.call("PUT", &bucket, "", &[], None).ok();
        }
        bucket
    }

    /// Lets everybody do everything in a bucket.
    pub fn open_to_all(&self, bucket: &str) {
        let policy = format!(
            "{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:*\",\
             \"Resource\":[\"arn:aws:s3:::{bucket}\",\"arn:aws:s3:::{bucket}/*\"]}}]}}"
        );
        self.call("PUT", bucket, "", &[("policy", "")], Some(&policy)).ok();
    }

    /// A new bucket with Object Lock, whose objects are kept for a day.
    pub fn locked_bucket(&self, name: &str) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let bucket = format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.call_with("PUT", &bucket, "", &[], "x-amz-bucket-object-lock-enabled: true\r\n", None).ok();
        let rule = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
                    <Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
        self.call("PUT", &bucket, "", &[("object-lock", "")], Some(rule)).ok();
        bucket
    }

    /// One signed request of its own.
    pub fn call(&self, method: &str, bucket: &str, path: &str, query: &[(&str, &str)], body: Option<&str>) -> Reply {
        self.call_with(method, bucket, path, query, "", body)
    }

    fn call_with(
        &self,
        method: &str,
        bucket: &str,
        path: &str,
        query: &[(&str, &str)],
        more: &str,
        body: Option<&str>,
    ) -> Reply {
        let builder = AmazonS3Builder::new()
            .with_endpoint(self.url())
            .with_allow_http(true)
            .with_bucket_name(bucket)
            .with_access_key_id(KEYS.0)
            .with_secret_access_key(KEYS.1);
        let query: Vec<(String, String)> =
            query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (method_name, path) = (method.to_owned(), ObjectPath::from(path));
        // On a thread of its own, because the caller may be inside a runtime.
        let signing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let options = SignedUrlOptions::default().with_query(query);
            let s3 = builder.build().unwrap();
            let method = method_name.parse().unwrap();
            runtime.block_on(s3.signed_url_opts(method, &path, Duration::from_secs(60), &options)).unwrap()
        });
        let url = signing.join().unwrap();
        let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        http::call_with(&self.address(), method, &target, more, body).unwrap()
    }

    /// Keys of the uploads that were begun and neither completed nor aborted.
    pub fn uploads(&self, bucket: &str) -> Vec<String> {
        let reply = self.call("GET", bucket, "", &[("uploads", "")], None).ok();
        reply.body.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once('<')?.0.to_owned())).collect()
    }

    /// The store of a prefix.
    ///
    /// # Errors
    /// The store's.
    pub fn store(&self, place: &str, options: &StoreOptions) -> Result<Store, StoreError> {
        let url: RepositoryUrl = format!("s3://{place}").parse()?;
        Store::open_with(&url, options, &variables(&self.url()))
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.leash.take());
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The variables that lead to a server.
pub fn variables(endpoint: &str) -> Variables {
    let pairs = [
        ("AWS_ACCESS_KEY_ID", KEYS.0),
        ("AWS_SECRET_ACCESS_KEY", KEYS.1),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", endpoint),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Sets the variables that lead to a server for a program.
pub fn lead<'a>(command: &'a mut Command, endpoint: &str) -> &'a mut Command {
    command.envs(variables(endpoint)).env("HOME", Path::new("/nowhere")).env_remove("AWS_PROFILE")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
