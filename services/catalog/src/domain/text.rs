//! Texts in the languages that the platform writes in.

/// The most characters of a title in one language.
const TITLE: usize = 200;

/// English, and French where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LocalizedText {
    /// English, the fallback.
    pub en: String,
    /// French; empty: the English text is shown.
    pub fr: String,
}

impl LocalizedText {
    /// What keeps it from being a title: field and problem.
    pub(crate) fn title_problems(&self, at: &str) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.en.trim().is_empty() {
            problems.push((format!("{at}.en"), "must be set".to_owned()));
        }
        for (language, text) in [("en", &self.en), ("fr", &self.fr)] {
            if text.chars().count() > TITLE {
                problems.push((format!("{at}.{language}"), format!("must have at most {TITLE} characters")));
            }
        }
        problems
    }
}
