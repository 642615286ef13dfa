//! White space as Python's `str.strip` sees it, for that is what chat templates were written against.

use super::Trim;

/// Unicode's `White_Space` and the four separators U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

impl Trim {
    pub const NONE: Self = Self { start: false, end: false };
    pub const BOTH: Self = Self { start: true, end: true };

    pub fn apply(self, text: &str) -> &str {
        let text = if self.start { text.trim_start_matches(is_space) } else { text };
        if self.end { text.trim_end_matches(is_space) } else { text }
    }
}
