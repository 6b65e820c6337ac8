//! From a TSUID to names.

use std::borrow::Cow;

use crate::model::{KeyLayout, LabelTable, SeriesLabel, UidKind, UidNames, hex};

/// Names series one after the other; keeps its buffer between them.
#[derive(Debug)]
pub struct SeriesNamer<'a> {
    layout: &'a KeyLayout,
    names: &'a UidNames,
    tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> SeriesNamer<'a> {
    /// A namer of series whose UIDs have the widths of the layout.
    pub fn new(layout: &'a KeyLayout, names: &'a UidNames) -> Self {
        Self { layout, names, tags: Vec::new() }
    }

    /// Adds the label of a series and returns whether it is complete: UIDs without a name appear in hex.
    pub fn name(&mut self, tsuid: &[u8], labels: &mut LabelTable) -> bool {
        let KeyLayout { metric_width, tagk_width, tagv_width, .. } = *self.layout;
        let (metric, tags) = tsuid.split_at_checked(usize::from(metric_width)).unwrap_or((tsuid, &[]));
        let metric = self.find(UidKind::Metric, metric, metric_width);
        let mut complete = metric.is_some();
        self.tags.clear();
        for pair in tags.chunks(self.layout.tag_width().max(1)) {
            let (tagk, tagv) = pair.split_at_checked(usize::from(tagk_width)).unwrap_or((pair, &[]));
            let (key, value) = (self.find(UidKind::Tagk, tagk, tagk_width), self.find(UidKind::Tagv, tagv, tagv_width));
            complete &= key.is_some() && value.is_some();
            let mut key = key.map_or_else(|| hex(tagk).into(), Cow::from);
            let value = value.map_or_else(|| hex(tagv).into(), Cow::from);
            // Two UIDs can carry one name (a lost race, characters that became `?`), and a JSON object or a map has a key
            // only once: the second one says which UID it is.
            let place = loop {
                match self.tags.binary_search_by(|(other, _)| other.as_ref().cmp(key.as_ref())) {
                    Ok(_) => key = format!("{key}#{}", hex(tagk)).into(),
                    Err(place) => break place,
                }
            };
            self.tags.insert(place, (key, value));
        }
        // A text always serialises.
        labels.push(metric, &self.tags, complete, |text| serde_json::to_string(text).unwrap_or_default());
        complete
    }

    /// `tsdb-uid` may hold UIDs of other widths: a UID cut short would find the name of one of those.
    fn find(&self, kind: UidKind, uid: &[u8], width: u8) -> Option<&'a str> {
        if uid.len() == usize::from(width) { self.names.get(kind, uid) } else { None }
    }
}

/// Names one series.
pub fn describe_series(tsuid: &[u8], layout: &KeyLayout, names: &UidNames) -> SeriesLabel {
    let mut labels = LabelTable::new();
    SeriesNamer::new(layout, names).name(tsuid, &mut labels);
    labels.get(0).map(|label| label.to_owned()).unwrap_or_default()
}
