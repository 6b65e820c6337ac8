//! What the UIDs of a series stand for.

use std::collections::HashMap;

/// A series in words. A tag key or value without a name is shown as its UID in upper-case hex; a metric without one is
/// `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesLabel {
    /// Metric name; `None` when its UID has no name.
    pub metric: Option<String>,
    /// Tag keys and values, sorted by key.
    pub tags: Vec<(String, String)>,
    /// The tags as one JSON object with sorted keys and without spaces: `{"dc":"fra","host":"web-1"}`.
    pub tags_json: String,
    /// True when every UID of the series has a name.
    pub complete: bool,
}

/// Labels by TSUID in upper-case hex.
pub type SeriesLabels = HashMap<String, SeriesLabel>;

/// A stretch of [`LabelTable::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Stretch {
    start: usize,
    end: usize,
}

/// One label of a [`LabelTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Label {
    metric: Option<Stretch>,
    tags_json: Stretch,
    /// The end of its tags in [`LabelTable::tags`]; they begin where those of the label before end.
    tags_end: usize,
    complete: bool,
}

/// Labels of many series by index. All text is in one buffer: a batch can name hundreds of thousands of series.
#[derive(Debug, Clone, Default)]
pub struct LabelTable {
    text: String,
    tags: Vec<(Stretch, Stretch)>,
    labels: Vec<Label>,
}

/// A label of a [`LabelTable`]; the fields are those of [`SeriesLabel`].
#[derive(Debug, Clone, Copy)]
pub struct LabelView<'a> {
    /// Metric name; `None` when its UID has no name.
    pub metric: Option<&'a str>,
    /// The tags as one JSON object.
    pub tags_json: &'a str,
    /// True when every UID of the series has a name.
    pub complete: bool,
    text: &'a str,
    tags: &'a [(Stretch, Stretch)],
}

impl<'a> LabelView<'a> {
    /// Tag keys and values, sorted by key.
    pub fn tags(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> + use<'a> {
        let text = self.text;
        self.tags.iter().map(move |(key, value)| (slice(text, *key), slice(text, *value)))
    }

    /// The label with its own text.
    pub fn to_owned(&self) -> SeriesLabel {
        SeriesLabel {
            metric: self.metric.map(str::to_owned),
            tags: self.tags().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            tags_json: self.tags_json.to_owned(),
            complete: self.complete,
        }
    }
}

fn slice(text: &str, Stretch { start, end }: Stretch) -> &str {
    text.get(start..end).unwrap_or_default()
}

impl LabelTable {
    /// Without labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True without labels.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Forgets the labels, keeps capacity.
    pub fn clear(&mut self) {
        self.text.clear();
        self.tags.clear();
        self.labels.clear();
    }

    /// The label with this index.
    pub fn get(&self, index: usize) -> Option<LabelView<'_>> {
        let label = self.labels.get(index)?;
        let first = index.checked_sub(1).and_then(|before| self.labels.get(before)).map_or(0, |before| before.tags_end);
        Some(LabelView {
            metric: label.metric.map(|metric| slice(&self.text, metric)),
            tags_json: slice(&self.text, label.tags_json),
            complete: label.complete,
            text: &self.text,
            tags: self.tags.get(first..label.tags_end).unwrap_or_default(),
        })
    }

    /// All labels in order.
    pub fn iter(&self) -> impl Iterator<Item = LabelView<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Adds a label. `tags` are sorted by key; `quote` writes a text as a JSON string, where it needs escapes.
    pub fn push(
        &mut self,
        metric: Option<&str>,
        tags: &[(impl AsRef<str>, impl AsRef<str>)],
        complete: bool,
        quote: impl Fn(&str) -> String,
    ) {
        // Neighbours mostly have one metric.
        let before = self.labels.last().and_then(|label| label.metric);
        let metric = metric.map(|metric| {
            before.filter(|before| slice(&self.text, *before) == metric).unwrap_or_else(|| self.keep(metric))
        });
        let start = self.text.len();
        self.text.push('{');
        let mut escapes = false;
        for (key, value) in tags {
            if self.text.len() > start + 1 {
                self.text.push(',');
            }
            let (key, value) = (key.as_ref(), value.as_ref());
            escapes |= needs_escapes(key) || needs_escapes(value);
            let key = self.member(key, &quote);
            self.text.push(':');
            let value = self.member(value, &quote);
            self.tags.push((key, value));
        }
        self.text.push('}');
        let tags_json = Stretch { start, end: self.text.len() };
        if escapes {
            // The JSON does not hold these texts as they are.
            self.tags.truncate(self.tags.len() - tags.len());
            for (key, value) in tags {
                let tag = (self.keep(key.as_ref()), self.keep(value.as_ref()));
                self.tags.push(tag);
            }
        }
        self.labels.push(Label { metric, tags_json, tags_end: self.tags.len(), complete });
    }

    fn keep(&mut self, text: &str) -> Stretch {
        let start = self.text.len();
        self.text.push_str(text);
        Stretch { start, end: self.text.len() }
    }

    /// Adds a JSON string; gives the text between its quotes.
    fn member(&mut self, text: &str, quote: &impl Fn(&str) -> String) -> Stretch {
        if needs_escapes(text) {
            self.text.push_str(&quote(text));
            return Stretch::default();
        }
        self.text.push('"');
        let member = self.keep(text);
        self.text.push('"');
        member
    }
}

/// JSON escapes control characters, quotes and backslashes.
fn needs_escapes(text: &str) -> bool {
    text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
}

impl FromIterator<SeriesLabel> for LabelTable {
    fn from_iter<I: IntoIterator<Item = SeriesLabel>>(labels: I) -> Self {
        let mut table = Self::new();
        for SeriesLabel { metric, tags, tags_json, complete } in labels {
            let metric = metric.map(|metric| table.keep(&metric));
            let tags_json = table.keep(&tags_json);
            for (key, value) in tags {
                let tag = (table.keep(&key), table.keep(&value));
                table.tags.push(tag);
            }
            let tags_end = table.tags.len();
            table.labels.push(Label { metric, tags_json, tags_end, complete });
        }
        table
    }
}
