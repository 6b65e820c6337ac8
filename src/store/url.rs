//! Where a repository is, as the user writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::StoreError;

/// A directory (`/path`, `file:///path`, a relative path) or an S3 prefix (`s3://bucket/prefix`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepositoryUrl {
    /// An absolute directory.
    Local(PathBuf),
    /// A bucket and a prefix without slashes at its ends; an empty prefix is the whole bucket.
    S3 {
        /// Bucket name.
        bucket: String,
        /// Prefix of all keys, may be empty.
        prefix: String,
    },
}

impl FromStr for RepositoryUrl {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |reason: &str| StoreError::Settings { place: text.to_owned(), reason: reason.to_owned() };
        if let Some(rest) = text.strip_prefix("s3://") {
            return parse_s3(rest).ok_or_else(|| {
                refused("an S3 repository is written s3://bucket/prefix, without user, query, empty parts, . or ..")
            });
        }
        if text.starts_with("file:") {
            let url = url::Url::parse(text).map_err(|e| refused(&e.to_string()))?;
            let path = url.to_file_path().map_err(|()| refused("write a local repository as file:///path or /path"))?;
            return Ok(Self::Local(path));
        }
        if text.is_empty() || text.contains("://") {
            return Err(refused("a repository is /path, file:///path or s3://bucket/prefix"));
        }
        std::path::absolute(text).map(Self::Local).map_err(|e| refused(&e.to_string()))
    }
}

fn parse_s3(rest: &str) -> Option<RepositoryUrl> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    let bucket_fits = !bucket.is_empty() && bucket.chars().all(legal);
    let prefix_fits = !prefix.contains(['?', '#', '%', '*', '\\'])
        && (prefix.is_empty() || prefix.split('/').all(|part| !matches!(part, "" | "." | "..")));
    (bucket_fits && prefix_fits).then(|| RepositoryUrl::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(bucket: &str, prefix: &str) -> RepositoryUrl {
        RepositoryUrl::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() }
    }

    #[test]
    fn reads_every_spelling() {
        let cases = [
            ("/var/backup", RepositoryUrl::Local("/var/backup".into())),
            ("file:///var/my%20backup", RepositoryUrl::Local("/var/my backup".into())),
            ("s3://b", s3("b", "")),
            ("s3://b/", s3("b", "")),
            ("s3://my.bucket-1/a/b/", s3("my.bucket-1", "a/b")),
        ];
        for (text, wanted) in cases {
            assert_eq!(text.parse::<RepositoryUrl>().unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn a_relative_path_becomes_absolute() {
        let RepositoryUrl::Local(path) = "backup".parse().unwrap() else { panic!("not local") };
        assert!(path.is_absolute() && path.ends_with("backup"));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for text in ["", "s3://", "s3:///x", "s3://b/a//c", "s3://b/../c", "s3://b/a?x=1", "gs://b/c", "file://host/x"]
        {
            assert!(text.parse::<RepositoryUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn is_shown_as_it_is_written() {
        for text in ["/var/backup", "s3://b", "s3://b/a/c"] {
            assert_eq!(text.parse::<RepositoryUrl>().unwrap().to_string(), text);
        }
    }
}
