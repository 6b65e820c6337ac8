//! Where a backup goes: a folder, or a bucket whose server is behind a proxy that does to requests what stores do.

use crate::support::ark::{self, Run};
use crate::support::faults::http::{FaultPlan, HttpProxy, Mix};
use crate::support::s3::{self, S3Server};

/// A repository of one seed.
pub enum Place {
    /// In a folder.
    Disk(ark::Repository),
    /// In a bucket of its own.
    S3 {
        /// `s3://BUCKET/PREFIX`.
        url: String,
        /// The server as it is.
        server: &'static S3Server,
        /// The server as the runs see it that have to bear faults.
        proxy: HttpProxy,
    },
}

impl Place {
    /// Seeds take turns.
    pub fn new(seed: u64, faults_per_minute: u32) -> Place {
        if seed % 2 == 1 {
            return Place::Disk(ark::Repository::default());
        }
        let server = S3Server::versitygw();
        let url = format!("s3://{}/opentsdb", server.bucket("endurance"));
        let plan = FaultPlan::mixed(seed, Mix::survivable(f64::from(faults_per_minute)));
        Place::S3 { url, server, proxy: HttpProxy::start(&server.address(), plan) }
    }

    /// Runs `verb --repository THIS --json`. `calm`: without faults of the store.
    pub fn run(&self, verb: &str, more: &[&str], calm: bool) -> Run {
        match self {
            Place::Disk(repository) => repository.run(verb, more),
            Place::S3 { url, server, proxy } => {
                let endpoint = if calm { server.url() } else { proxy.url() };
                let mut command = ark::command();
                s3::lead(&mut command, &endpoint).args([verb, "--repository", url, "--json"]).args(more);
                ark::finished(command.output().unwrap())
            }
        }
    }

    /// Faults of the store so far.
    pub fn faults(&self) -> u64 {
        match self {
            Place::Disk(_) => 0,
            Place::S3 { proxy, .. } => proxy.count(),
        }
    }

    /// Committed backups; none where there is no repository.
    pub fn committed(&self) -> usize {
        let list = self.run("list", &[], true);
        match list.code {
            10 => 0,
            _ => list.expect(0).json["backups"].as_array().unwrap().len(),
        }
    }

    /// Whether a backup was begun and not finished.
    pub fn has_unfinished(&self) -> bool {
        let list = self.run("list", &[], true);
        list.json["unfinished"].as_array().is_some_and(|unfinished| !unfinished.is_empty())
    }

    /// For messages.
    pub fn name(&self) -> &'static str {
        match self {
            Place::Disk(_) => "disk",
            Place::S3 { .. } => "S3",
        }
    }
}
