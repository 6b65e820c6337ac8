//! tsdb-ark backs up, restores and verifies a whole OpenTSDB that lives on HBase.

pub mod model;
