//! Completion of names and values from the stored data.

/// The kind of text to complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompletionKind {
    /// Attribute names, each with its scope.
    Keys,
    /// Values of one attribute.
    Values(String),
    /// Service names.
    Services,
    /// Span names, of one service or all.
    Operations(Option<String>),
    /// Topic names.
    Topics,
}

/// Completions of a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompletionList {
    /// Texts with the approximate number of occurrences in spans. Texts that begin with the
    /// requested text come first, then the most frequent.
    pub items: Vec<(String, u64)>,
    /// True when there are further completions.
    pub more: bool,
}

// === impl CompletionList ===

impl CompletionList {
    /// Selects the candidates that contain `text`, ignoring case.
    #[must_use]
    pub fn select(
        candidates: Vec<(String, u64)>,
        is_complete: bool,
        text: &str,
        limit: usize,
    ) -> Self {
        let text = text.to_lowercase();
        let mut matching: Vec<(bool, u64, String)> = candidates
            .into_iter()
            .filter_map(|(item, count)| {
                let at = item.to_lowercase().find(&text)?;
                Some((at != 0, count, item))
            })
            .collect();
        // Prefix matches first (`false` sorts before `true`), then by falling count, then by name
        // so that equal requests give equal lists.
        matching.sort_unstable_by(|a, b| (a.0, b.1, &a.2).cmp(&(b.0, a.1, &b.2)));
        let more = !is_complete || matching.len() > limit;
        Self {
            items: matching
                .into_iter()
                .take(limit)
                .map(|(_, count, item)| (item, count))
                .collect(),
            more,
        }
    }
}
