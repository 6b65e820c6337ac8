//! The names of a cluster, as the encoder asks for them.

use crate::flow::FlowError;
use crate::flow::encode::Labels;
use crate::flow::source::names::Names;
use crate::model::{LabelTable, SeriesTable};

impl Labels for Names {
    fn labels(&self, series: &SeriesTable) -> Result<LabelTable, FlowError> {
        Names::labels(self, series)
    }
}
