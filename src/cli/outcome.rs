//! What a verb hands back: its report in every form, and whether somebody must read it.

/// A finished command.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The report for people; ends with a line feed.
    pub text: String,
    /// What is printed with `--quiet`: nothing, or what a script cannot do without.
    pub quiet_text: String,
    /// The report for scripts, one object without a line feed.
    pub json: String,
    /// The exit code: 0, 1 or 3.
    pub code: u8,
    /// Why the code is not 0, for stderr.
    pub why: Option<String>,
}

impl Outcome {
    /// Everything went well.
    pub fn done(text: String, json: String) -> Self {
        Self { text, json, ..Self::default() }
    }

    /// The work is done, but somebody must read the report.
    pub fn must_read(self, why: String) -> Self {
        Self { code: 3, why: Some(why), ..self }
    }

    /// The work is done and its own check says that it is wrong.
    pub fn wrong(self, why: String) -> Self {
        Self { code: 1, why: Some(why), ..self }
    }
}

/// Lines for the remarks of a report.
pub fn remarks(label: &str, remarks: &[String]) -> String {
    remarks.iter().map(|remark| format!("{label}: {remark}\n")).collect()
}
