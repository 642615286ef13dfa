//! Wikitext as the harness measures it: the model predicts the text with the tokenizer's marks of 2016 taken out, and words and
//! bytes are counted as they were.

/// Python's whitespace.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The parts that `\s+` leaves, empty ones at the ends included.
pub fn words(page: &str) -> usize {
    let mut runs = 0;
    let mut inside = false;
    for c in page.chars() {
        runs += usize::from(is_space(c) && !inside);
        inside = is_space(c);
    }
    runs + 1
}

/// The pages of a raw text: each begins with a heading of the first level, ` = Title = `.
pub fn pages(text: &str) -> Vec<String> {
    let mut pages = vec![String::new()];
    for line in text.split_inclusive('\n') {
        let last = pages.len() - 1;
        if is_title(line) && !pages[last].trim().is_empty() {
            pages.push(line.to_string());
        } else {
            pages[last] += line;
        }
    }
    pages.retain(|page| !page.trim().is_empty());
    pages
}

fn is_title(line: &str) -> bool {
    let line = line.trim();
    let title = line.strip_prefix("= ").and_then(|line| line.strip_suffix(" ="));
    title.is_some_and(|title| !title.starts_with('=') && !title.ends_with('='))
}

/// The text as it is written.
pub fn detokenized(page: &str) -> String {
    let mut text = page.replace("s '", "s'");
    text = slashed_years(&text);
    let spaced = [" @-@ ", " @,@ ", " @.@ ", " : ", " ; ", " . ", " ! ", " ? ", " , "];
    for (from, to) in spaced.into_iter().zip(["-", ",", ".", ": ", "; ", ". ", "! ", "? ", ", "]) {
        text = text.replace(from, to);
    }
    for (open, close) in [('(', ')'), ('[', ']'), ('{', '}'), ('"', '"'), ('\'', '\'')] {
        text = tightened(&text, open, close);
    }
    let rest = ["= = = =", "= = =", "= =", " ° ", " \n", "\n ", " N ", " 's"];
    for (from, to) in rest.into_iter().zip(["====", "===", "==", "°", "\n", "\n", " 1 ", "'s"]) {
        text = text.replace(from, to);
    }
    text
}

/// The harness's pattern `/' [0-9]/` was meant to be without slashes and to keep the digit; figures are compared with those it gives.
fn slashed_years(text: &str) -> String {
    (0..10).fold(text.to_string(), |text, digit| text.replace(&format!("/' {digit}/"), "/'[0-9]/"))
}

/// From each opening mark to the next closing one, without the whitespace inside either.
fn tightened(text: &str, open: char, close: char) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(open) {
        let inside = &rest[begin + open.len_utf8()..];
        let Some(end) = inside.find(close) else { break };
        out += &rest[..begin];
        out.push(open);
        out += inside[..end].trim_matches(is_space);
        out.push(close);
        rest = &inside[end + close.len_utf8()..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_back_to_where_they_were() {
        let text = " = Robert <unk> = \n \n It cost 1 @,@ 000 , or so ( about 3 @.@ 5 ) . \" A \" was 's ' best \n = = Life = = \n";
        let expected = " = Robert <unk> =\n\nIt cost 1,000, or so (about 3.5). \"A\" was's' best\n== Life ==\n";
        assert_eq!(detokenized(text), expected);
        assert_eq!(detokenized("x /' 8/ y"), "x /'[0-9]/ y");
    }

    #[test]
    fn words_are_what_whitespace_parts() {
        assert_eq!([words(""), words("a b"), words(" a  b\n")], [1, 2, 4]);
    }

    #[test]
    fn pages_begin_with_titles() {
        let text = " \n = One = \n a \n = = Part = = \n b \n = Two = \n c \n";
        assert_eq!(pages(text), [" \n = One = \n a \n = = Part = = \n b \n", " = Two = \n c \n"]);
    }
}
