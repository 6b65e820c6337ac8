//! This process, and whether another one of the same host still runs.

use std::path::Path;

use crate::manifest::LockRecord;

/// What tells a process from every other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Name of the host.
    pub host: String,
    /// The boot id of its system; empty where there is none.
    pub boot: String,
    /// The name space of its process ids: two containers of one host count them each on their own.
    pub pid_space: String,
    /// Process id.
    pub pid: u32,
    /// Ticks between boot and start; 0 when unknown.
    pub start: u64,
}

impl ProcessIdentity {
    /// This process.
    pub fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let pid_space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let pid = std::process::id();
        Self {
            host: read("/proc/sys/kernel/hostname"),
            boot: read("/proc/sys/kernel/random/boot_id"),
            pid_space: pid_space.display().to_string(),
            pid,
            start: stat(pid).map_or(0, |stat| stat.start),
        }
    }

    /// True when the owner of a lock ran on this very system and is no more. In doubt false: then its lock expires.
    pub fn knows_as_gone(&self, record: &LockRecord) -> bool {
        let same_system = !self.boot.is_empty()
            && (&self.host, &self.boot, &self.pid_space) == (&record.host, &record.boot, &record.pid_space);
        // Where processes of others are hidden, the first of all is as well.
        if !same_system || !Path::new("/proc/1").exists() {
            return false;
        }
        if !Path::new(&format!("/proc/{}", record.pid)).exists() {
            return true;
        }
        stat(record.pid).is_some_and(|stat| {
            let another = record.process_start != 0 && stat.start != record.process_start;
            another || matches!(stat.state, 'Z' | 'X')
        })
    }
}

struct Stat {
    state: char,
    start: u64,
}

/// State and start of a process, fields 3 and 22 of `/proc/<pid>/stat`.
fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, and a name may hold anything.
    let (_, behind) = text.rsplit_once(')')?;
    let mut fields = behind.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some(Stat { state, start: fields.nth(18)?.parse().ok()? })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::manifest::LockKind;

    /// The record of a lock that this process holds.
    pub fn own_record() -> LockRecord {
        let this = ProcessIdentity::this();
        LockRecord {
            format: 1,
            kind: LockKind::Backup,
            token: "aa".into(),
            host: this.host,
            boot: this.boot,
            pid_space: this.pid_space,
            pid: this.pid,
            process_start: this.start,
            command: "a test".into(),
            backup: None,
            since_ms: 0,
            interval_ms: 30_000,
            tool_version: String::new(),
            self_blake3: String::new(),
        }
    }

    #[test]
    fn this_process_is_not_gone() {
        let this = ProcessIdentity::this();
        assert!(this.start > 0 && !this.boot.is_empty() && !this.host.is_empty(), "{this:?}");
        assert!(!this.knows_as_gone(&own_record()));
    }

    #[test]
    fn a_process_that_ended_is_gone_and_so_is_one_whose_id_was_given_again() {
        let this = ProcessIdentity::this();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = LockRecord { pid: child.id(), process_start: 0, ..own_record() };
        // Also before its parent has asked for its exit code.
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(this.knows_as_gone(&ended));
        child.wait().unwrap();
        assert!(this.knows_as_gone(&ended));
        let before = LockRecord { process_start: own_record().process_start - 1, ..own_record() };
        assert!(this.knows_as_gone(&before));
    }

    #[test]
    fn nothing_is_known_of_other_hosts() {
        let this = ProcessIdentity::this();
        let gone = LockRecord { pid: u32::MAX, ..own_record() };
        assert!(this.knows_as_gone(&gone));
        assert!(!this.knows_as_gone(&LockRecord { host: "elsewhere".into(), ..gone.clone() }));
        assert!(!this.knows_as_gone(&LockRecord { boot: "before".into(), ..gone.clone() }));
        assert!(!this.knows_as_gone(&LockRecord { pid_space: "pid:[1]".into(), ..gone }));
    }
}
