//! What happens to a stretch of text before it is cut into pieces.

use std::borrow::Cow;

use super::nfc::nfc;
use super::rules::{Prefix, Rules};

/// SentencePiece's sign for a space.
const ESCAPED_SPACE: char = '\u{2581}';

/// Applies the rules to a text that was not empty; `first` tells that it stands at the beginning of the whole.
///
/// SentencePiece writes every space as `▁`; here every `▁` becomes a space, which is the same since both end up alike.
pub fn normalize<'t>(rules: &Rules, text: &'t str, first: bool) -> Cow<'t, str> {
    let mut text = if rules.nfc { nfc(text) } else { Cow::Borrowed(text) };
    if rules.collapse_spaces {
        text = Cow::Owned(collapse(&text));
    }
    if rules.escaped_spaces && text.contains(ESCAPED_SPACE) {
        text = Cow::Owned(text.replace(ESCAPED_SPACE, " "));
    }
    let wanted = match rules.prefix {
        Prefix::Never => false,
        Prefix::First => first,
        Prefix::Every => true,
    };
    if wanted && !(rules.prefix_unless_space && text.starts_with(' ')) {
        text.to_mut().insert(0, ' ');
    }
    if rules.collapse_spaces {
        let end = text.trim_end_matches(' ').len();
        text.to_mut().truncate(end);
    }
    text
}

/// No spaces at the beginning, and single ones inside. Those at the end are cut later, with what `▁` gave.
fn collapse(text: &str) -> String {
    let mut collapsed = String::with_capacity(text.len());
    for c in text.chars() {
        if c != ' ' || !(collapsed.is_empty() || collapsed.ends_with(' ')) {
            collapsed.push(c);
        }
    }
    collapsed
}

#[cfg(test)]
mod tests {
    use super::super::pretokenize::Pattern;
    use super::super::rules::Symbols;
    use super::*;

    fn rules() -> Rules {
        Rules { prefix: Prefix::Every, escaped_spaces: true, ..Rules::new(Symbols::Chars, Pattern::Whole) }
    }

    #[test]
    fn prefixes() {
        let rules = rules();
        assert_eq!(normalize(&rules, " a▁b", true), "  a b");
        // A charsmap may have left nothing of a text.
        assert_eq!(normalize(&rules, "", true), " ");
        let polite = Rules { prefix_unless_space: true, ..rules.clone() };
        assert_eq!(normalize(&polite, "▁a", true), " a");
        let first = Rules { prefix: Prefix::First, ..rules };
        assert_eq!(normalize(&first, "a", true), " a");
        assert_eq!(normalize(&first, "a", false), "a");
    }

    #[test]
    fn collapses_spaces_only() {
        let rules = Rules { collapse_spaces: true, ..rules() };
        assert_eq!(normalize(&rules, "  a  b \t ", true), " a b \t");
        assert_eq!(normalize(&rules, "   ", true), "");
        assert_eq!(normalize(&rules, "▁", true), "");
    }
}
