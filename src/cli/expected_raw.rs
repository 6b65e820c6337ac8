//! The raw cells that a backup is expected to keep.

use tsdb_ark::model::RawReason;

/// Raw cells that are no news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedRaw {
    /// Whatever the reason.
    All,
    /// None of them.
    Nothing,
    /// Those of one reason.
    Reason(RawReason),
}

impl ExpectedRaw {
    /// Reads `all`, `none` or the name of a reason; a configuration file may say true and false.
    ///
    /// # Errors
    /// Anything else, with the names that there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "all" | "true" => Ok(Self::All),
            "none" | "false" => Ok(Self::Nothing),
            name => RawReason::from_name(name).map(Self::Reason).ok_or_else(|| {
                let names: Vec<&str> = RawReason::ALL.iter().map(|reason| reason.name()).collect();
                format!("no cell is kept raw for that reason; reasons are {}", names.join(", "))
            }),
        }
    }

    /// Whether a reason is among those that are expected.
    pub fn covers(expected: &[Self], reason: Option<RawReason>) -> bool {
        expected.iter().any(|one| match one {
            Self::All => true,
            Self::Nothing => false,
            Self::Reason(known) => Some(*known) == reason,
        })
    }
}
