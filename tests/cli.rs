//! The real binary: what it says and how it exits, without any cluster.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary, without the environment that would change its settings.
fn ark(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tsdb-ark"));
    for name in ["TSDB_ARK_REPOSITORY", "TSDB_ARK_GATEWAY", "TSDB_ARK_CONFIG", "TSDB_ARK_LOG"] {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    ark(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn expect(args: &[&str], code: i32, on_stderr: &str) -> Output {
    let output = run(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}{}", out(&output), err(&output));
    assert!(err(&output).contains(on_stderr), "{args:?}: {}", err(&output));
    output
}

/// An address on which nothing listens.
fn dead_gateway() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn the_first_lines_of_help_are_a_first_backup() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = out(&output);
    let first: Vec<&str> = text.lines().take(8).collect();
    assert!(first[0].starts_with("Backs up, restores and verifies a whole OpenTSDB"), "{first:?}");
    assert!(first.iter().any(|l| l.trim().starts_with("tsdb-ark backup  --gateway")), "{first:?}");
    assert!(first.iter().any(|l| l.contains("--repository /backup/opentsdb")), "{first:?}");
    for verb in ["check", "backup", "list", "show", "verify", "restore", "completions"] {
        assert!(text.lines().any(|l| l.trim_start().starts_with(&format!("{verb} "))), "{verb}");
    }
}

/// What was asked for is done, and a script should not do it again.
#[test]
fn a_report_that_cannot_be_written_is_no_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = ark(&["completions", "bash"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(err(&output).contains("the command is done, and its report cannot be written"), "{}", err(&output));
}

#[test]
fn every_command_documents_its_exit_codes() {
    for verb in ["check", "backup", "list", "show", "verify", "restore"] {
        let text = out(&run(&[verb, "--help"]));
        for code in ["0", "1", "2", "3", "10", "11", "12", "75", "130"] {
            assert!(text.lines().any(|l| l.trim_start().starts_with(&format!("{code}  "))), "{verb} {code}\n{text}");
        }
    }
}

#[test]
fn wrong_flags_are_usage_errors() {
    expect(&["backup", "--no-such-flag"], 2, "--no-such-flag");
    expect(&["frobnicate"], 2, "frobnicate");
    expect(&[], 2, "Usage");
    expect(&["backup", "--max-memory", "lots", "--repository", "/x"], 2, "320MiB");
    expect(&["verify", "--level", "deep"], 2, "files, cells, source");
    expect(&["backup", "--framed", "--unframed"], 2, "cannot be used with");
}

#[test]
fn what_is_missing_is_named_with_a_hint() {
    expect(&["list"], 2, "tsdb-ark: error: no repository is given: name a directory");
    expect(&["check"], 2, "TSDB_ARK_GATEWAY");
    expect(&["backup", "--repository", "/x"], 2, "--gateway HOST:PORT");
    expect(&["verify", "--repository", "/x", "--level", "source"], 2, "live cluster");
    expect(&["check", "--gateway", "127.0.0.1:1", "--opentsdb-conf", "/no/such.conf"], 2, "/no/such.conf");
}

#[test]
fn an_unknown_key_is_shown_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ark.toml");
    std::fs::write(&path, "connections = 2\n\n[backup]\nrepositry = \"/x\"\n").unwrap();
    let output = expect(&["backup", "--config", path.to_str().unwrap()], 2, "ark.toml:4: unknown key `repositry`");
    assert!(err(&output).contains("the line reads: repositry = \"/x\""), "{}", err(&output));
    assert_eq!(err(&output).lines().count(), 1);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let config = path("ark.toml");
    std::fs::write(&config, format!("repository = {:?}\n", path("of-the-file"))).unwrap();
    let from_file = ark(&["list"]).env("TSDB_ARK_CONFIG", &config).output().unwrap();
    assert!(err(&from_file).contains("of-the-file"), "{}", err(&from_file));
    let environment = path("of-the-environment");
    let mut command = ark(&["list", "--config", &config]);
    let from_environment = command.env("TSDB_ARK_REPOSITORY", &environment).output().unwrap();
    assert!(err(&from_environment).contains("of-the-environment"), "{}", err(&from_environment));
    let flag = path("of-the-flag");
    let mut command = ark(&["list", "--config", &config, "--repository", &flag]);
    let from_flag = command.env("TSDB_ARK_REPOSITORY", &environment).output().unwrap();
    assert!(err(&from_flag).contains("of-the-flag"), "{}", err(&from_flag));
}

#[test]
fn a_repository_that_is_not_there_is_exit_10() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("nothing");
    let absent = absent.to_str().unwrap();
    for verb in ["list", "show", "verify"] {
        let output = expect(&[verb, "--repository", absent], 10, "tsdb-ark: error: ");
        assert!(err(&output).contains("nothing"), "{}", err(&output));
        assert_eq!(err(&output).lines().count(), 1, "{}", err(&output));
        assert_eq!(out(&output), "");
    }
    assert!(!std::path::Path::new(absent).exists(), "reading must not make a repository");
}

#[test]
fn with_json_an_error_is_an_object_on_stdout() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("nothing");
    let output = expect(&["list", "--json", "--repository", absent.to_str().unwrap()], 10, "tsdb-ark: error: ");
    let object: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(object["exit_code"], 10);
    assert!(object["error"].as_str().unwrap().contains("nothing"), "{object}");
    let output = expect(&["list", "--json", "--wrong"], 2, "--wrong");
    let object: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(object["exit_code"], 2);
}

#[test]
fn a_gateway_that_is_down_is_temporary_and_said_quickly() {
    let gateway = dead_gateway();
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("repository");
    let repository = repository.to_str().unwrap();
    let start = Instant::now();
    let output = expect(&["check", "--gateway", &gateway, "--retry-for", "0s"], 75, &gateway);
    assert!(err(&output).starts_with("tsdb-ark: error: "), "{}", err(&output));
    expect(&["backup", "--gateway", &gateway, "--retry-for", "0s", "--repository", repository], 75, &gateway);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let list = run(&["list", "--repository", repository]);
    assert!(!out(&list).contains("Z-"), "a failed backup must not be listed: {}", out(&list));
}

#[test]
fn a_second_interrupt_ends_the_process_at_once() {
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gateway.local_addr().unwrap().to_string();
    let child = ark(&["check", "--gateway", &address]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // The connection shows that the signal handlers are in place; nobody ever answers on it.
    let _connection = gateway.accept().unwrap();
    for _ in 0..2 {
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        std::thread::sleep(Duration::from_millis(200));
    }
    let start = Instant::now();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(err(&ended), "tsdb-ark: stopping; press ctrl-C again to stop at once\n");
}

/// Whoever mistyped an address learns so at once, not after the ten minutes of --retry-for.
#[test]
fn a_gateway_that_is_waited_for_is_named_at_once() {
    let dead = dead_gateway();
    for (address, reason) in
        [(dead.as_str(), "Connection refused"), ("no-such-host.invalid:9090", "no-such-host.invalid")]
    {
        let output = expect(&["check", "--gateway", address, "--retry-for", "3s"], 75, "gave up after");
        let told: Vec<String> = err(&output).lines().filter(|line| line.contains("WARN")).map(str::to_owned).collect();
        assert_eq!(told.len(), 1, "one line, not one a retry: {}", err(&output));
        for part in [address, reason, "retrying", "until=20"] {
            assert!(told[0].contains(part), "{part} is not in {}", told[0]);
        }
    }
    let args = ["check", "--gateway", &dead, "--retry-for", "2s", "--log-format", "json", "--json"];
    let output = expect(&args, 75, "gave up after");
    let line: serde_json::Value = serde_json::from_str(err(&output).lines().next().unwrap()).unwrap();
    assert!(line["fields"]["error"].as_str().unwrap().contains(&dead), "{line}");
    assert!(line["fields"]["until"].as_str().unwrap().starts_with("20"), "{line}");
    // Nothing is waited for, nothing is said but the error.
    let output = expect(&["check", "--gateway", &dead, "--retry-for", "0s"], 75, "gave up after");
    assert_eq!(err(&output).lines().count(), 1, "{}", err(&output));
    let output = expect(&["check", "--quiet", "--gateway", &dead, "--retry-for", "1s"], 75, "gave up after");
    assert_eq!(err(&output).lines().count(), 1, "{}", err(&output));
}

/// 3 would be three seconds, and every older backup would go.
#[test]
fn an_age_of_backups_needs_its_unit() {
    for flags in [&["--keep-within", "3"][..], &["--keep-last", "1", "--grace", "24"]] {
        let output = expect(&[&["prune", "--repository", "/x"], flags].concat(), 2, "it needs a unit, such as ");
        assert!(err(&output).contains(&format!("{}d (days)", flags[flags.len() - 1])), "{}", err(&output));
    }
}

#[test]
fn a_number_in_the_file_is_no_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ark.toml");
    for line in ["repository = 5", "repository = true", "gateway = [\"a:1\", 9090]", "opentsdb-conf = 1.5"] {
        std::fs::write(&path, format!("{line}\n")).unwrap();
        let output = expect(&["check", "--config", path.to_str().unwrap()], 2, "takes text in quotes");
        assert!(err(&output).contains(&format!("the line reads: {line}")), "{}", err(&output));
    }
    // A number for a duration or a count is as good as text.
    std::fs::write(&path, "connections = 2\nretry-for = 5\nrepository = \"/no/such\"\n").unwrap();
    expect(&["list", "--config", path.to_str().unwrap()], 10, "/no/such");
}

#[test]
fn help_is_a_command_too() {
    for words in [&["help"][..], &["help", "backup"], &["help", "prune"]] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", err(&output));
        assert!(out(&output).contains("Usage: tsdb-ark"), "{}", out(&output));
    }
    assert_eq!(out(&run(&["help", "verify"])), out(&run(&["verify", "--help"])));
}

#[test]
fn empty_environment_variables_count_as_unset() {
    let mut command = ark(&["list"]);
    let output = command.env("TSDB_ARK_REPOSITORY", "").env("TSDB_ARK_CONFIG", "").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("no repository is given"), "{}", err(&output));
    let output = ark(&["check"]).env("TSDB_ARK_GATEWAY", "").output().unwrap();
    assert!(err(&output).contains("no gateway is given"), "{}", err(&output));
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("ark.toml");
    std::fs::write(&config, "repository = '/no/such/repository'\n").unwrap();
    let mut command = ark(&["list", "--config", config.to_str().unwrap()]);
    let output = command.env("TSDB_ARK_REPOSITORY", "").output().unwrap();
    assert!(err(&output).contains("/no/such/repository"), "{}", err(&output));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = ark(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(err(&output), "");
}

#[test]
fn completions_know_the_verbs() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(out(&output).contains("restore"), "{shell}");
    }
}

/// What a release for old machines is checked by: the program as the tests build it needs a newer glibc, a library that
/// needs none passes.
#[test]
fn a_release_that_needs_a_newer_glibc_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("none.c"), folder.path().join("none.so"));
    std::fs::write(&source, "int none(void) { return 0; }\n").unwrap();
    let built = Command::new("cc").args(["-shared", "-nostdlib", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(built.success());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/release.sh");
    let check = |file: &std::ffi::OsStr| Command::new(script).arg("--check").arg(file).output().unwrap();
    let passed = check(library.as_os_str());
    assert_eq!(passed.status.code(), Some(0), "{}", err(&passed));
    let refused = check(env!("CARGO_BIN_EXE_tsdb-ark").as_ref());
    assert_eq!(refused.status.code(), Some(1), "{}", out(&refused));
    assert!(err(&refused).contains("newer than GLIBC_2.17"), "{}", err(&refused));
}
