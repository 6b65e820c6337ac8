//! Which points somebody wants: by metric, tags and time.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};

use crate::model::time::text_time;

/// A pattern of names: `*` any text, `?` any character, `[ab]`, `{a,b}`; the whole name must match, case counts.
#[derive(Debug, Clone)]
pub struct NamePattern(GlobMatcher);

impl NamePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("expected a name or a pattern such as sys.cpu.*".to_owned());
        }
        // Names are no paths: a slash is a character like others, and so is a backslash.
        let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(false).build();
        glob.map(|glob| Self(glob.compile_matcher())).map_err(|error| error.kind().to_string())
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        self.0.glob().glob()
    }

    /// True when the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

/// The points of a command: those of series that match, in a range of time. The default is all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// One of these must match the metric; none: any metric.
    pub metrics: Vec<NamePattern>,
    /// For each key one of its patterns must match the value; other tags do not count.
    pub tags: Vec<(String, NamePattern)>,
    /// No point before this time, ms since 1970, UTC.
    pub from_ms: Option<i64>,
    /// No point at or after this time, ms since 1970, UTC.
    pub to_ms: Option<i64>,
}

impl Selection {
    /// True when everything is wanted.
    pub fn is_all(&self) -> bool {
        self.metrics.is_empty() && self.tags.is_empty() && self.from_ms.is_none() && self.to_ms.is_none()
    }

    /// True for a metric that is wanted; `None` is one whose UID has no name, which no pattern matches.
    pub fn has_metric(&self, metric: Option<&str>) -> bool {
        self.metrics.is_empty() || metric.is_some_and(|name| self.metrics.iter().any(|pattern| pattern.matches(name)))
    }

    /// True for tags that are wanted, as pairs of key and value.
    pub fn has_tags<'t>(&self, tags: impl Iterator<Item = (&'t str, &'t str)> + Clone) -> bool {
        let matched = |key: &str| {
            let mut patterns = self.tags.iter().filter(|(wanted, _)| wanted == key).map(|(_, pattern)| pattern);
            let mut values = tags.clone().filter(|(of, _)| *of == key).map(|(_, value)| value);
            values.next().is_some_and(|value| patterns.any(|pattern| pattern.matches(value)))
        };
        self.tags.iter().all(|(key, _)| matched(key))
    }

    /// True for a time that is wanted, ms.
    pub fn has_time(&self, ms: i64) -> bool {
        self.from_ms.is_none_or(|from| from <= ms) && self.to_ms.is_none_or(|to| ms < to)
    }

    /// True when some time from `first_ms` to `last_ms`, both included, is wanted.
    pub fn meets(&self, first_ms: i64, last_ms: i64) -> bool {
        self.from_ms.is_none_or(|from| from <= last_ms) && self.to_ms.is_none_or(|to| first_ms < to)
    }
}

/// As flags: two selections with the same text are the same.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics = self.metrics.iter().map(|metric| format!("--metric {}", metric.text()));
        let tags = self.tags.iter().map(|(key, value)| format!("--tag {key}={}", value.text()));
        let time = |flag: &str, ms: Option<i64>| ms.map(|ms| format!("--{flag} {}", text_time(ms)));
        let flags = metrics.chain(tags).chain(time("from", self.from_ms)).chain(time("to", self.to_ms));
        f.write_str(&flags.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_matched_and_nothing_else() {
        let pattern = |text| NamePattern::new(text).unwrap();
        let tag = |key: &str, text| (key.to_owned(), pattern(text));
        let all = Selection::default();
        assert!(all.is_all() && all.has_metric(None) && all.has_tags([].into_iter()) && all.has_time(i64::MIN));
        let some = Selection {
            metrics: vec![pattern("sys.cpu.*"), pattern("a/b")],
            tags: vec![tag("host", "web*"), tag("host", "db1"), tag("dc", "lon")],
            from_ms: Some(1000),
            to_ms: Some(2000),
        };
        assert!(some.has_metric(Some("sys.cpu.user/x")) && some.has_metric(Some("a/b")));
        assert!(!some.has_metric(Some("sys.mem")) && !some.has_metric(None) && !some.has_metric(Some("Sys.cpu.user")));
        let has = |tags: &[(&str, &str)]| some.has_tags(tags.iter().copied());
        assert!(has(&[("host", "web01"), ("dc", "lon"), ("x", "y")]) && has(&[("dc", "lon"), ("host", "db1")]));
        assert!(!has(&[("host", "web01")]) && !has(&[("host", "db2"), ("dc", "lon")]) && !has(&[]));
        assert_eq!([999, 1000, 1999, 2000].map(|ms| some.has_time(ms)), [false, true, true, false]);
        assert!(some.meets(0, 1000) && some.meets(1999, 9000) && !some.meets(0, 999) && !some.meets(2000, 3000));
        assert!(NamePattern::new("").is_err() && NamePattern::new("a[").is_err());
        assert!(pattern("a\\b").matches("a\\b"));
    }
}
