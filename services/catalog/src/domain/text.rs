//! Texts in the languages that the platform writes in.

/// English, and French where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LocalizedText {
    /// English, the fallback.
    pub en: String,
    /// French; empty: the English text is shown.
    pub fr: String,
}
