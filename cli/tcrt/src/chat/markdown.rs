//! Markdown shown lightly, as it streams in: headings and strong words in bold, code in colour, fences dimmed. Everything else, and
//! whatever is not clearly Markdown, stays as it was written.

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const CODE: &str = "\x1b[36m";
const RESET: &str = "\x1b[0m";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Only blanks so far.
    Begin,
    Text,
    Heading,
    /// The line of a fence.
    Fence,
    /// A line within a fence.
    Code,
}

/// From pieces of a text to pieces with styles. What a mark means may be seen only at the next character: it is held back so long.
pub struct Markdown {
    line: Line,
    /// Ticks of the fence that the text is within.
    fence: usize,
    /// Marks, all alike.
    held: String,
    strong: bool,
    /// Ticks that began the code within a line.
    ticks: usize,
    /// The character before what is held.
    last: char,
    out: String,
}

impl Default for Markdown {
    fn default() -> Self {
        let (held, out) = (String::new(), String::new());
        Markdown { line: Line::Begin, fence: 0, held, strong: false, ticks: 0, last: '\n', out }
    }
}

impl Markdown {
    pub fn push(&mut self, piece: &str) -> String {
        piece.chars().for_each(|c| self.take(c));
        std::mem::take(&mut self.out)
    }

    /// What was held back; styles end with the text.
    pub fn finish(&mut self) -> String {
        self.decide('\n');
        self.end_styles();
        std::mem::take(&mut self.out)
    }

    fn take(&mut self, c: char) {
        if !self.held.starts_with(c) {
            self.decide(c);
        }
        match c {
            _ if self.may_mark(c) => return self.held.push(c),
            '\n' => self.end_line(),
            ' ' | '\t' if self.line == Line::Begin => self.out.push(c),
            _ => self.write(c.encode_utf8(&mut [0; 4])),
        }
        self.last = c;
    }

    /// Whether the character may be (part of) a mark where it stands.
    fn may_mark(&self, c: char) -> bool {
        let begin = self.line == Line::Begin;
        let within = matches!(self.line, Line::Begin | Line::Text | Line::Heading) && self.fence == 0;
        match c {
            '#' => begin && within,
            '`' => begin || within,
            '*' => within && self.ticks == 0,
            _ => false,
        }
    }

    /// What the held marks mean, with `next` after them.
    fn decide(&mut self, next: char) {
        let held = std::mem::take(&mut self.held);
        let count = held.len();
        let (inside, closes) = (self.fence > 0, !self.last.is_whitespace());
        match held.chars().next() {
            None => return,
            Some('#') if count <= 6 && next == ' ' => self.heading(&held),
            Some('`') if self.line == Line::Begin && count >= self.fence.max(3) => self.turn_fence(&held),
            Some('`') if !inside && self.ticks == 0 && !next.is_whitespace() => self.open_code(&held),
            Some('`') if !inside && self.ticks == count => self.close_code(&held),
            Some('*') if count >= 2 && self.strong && closes => self.end_strong(&held[2..]),
            Some('*') if count >= 2 && !self.strong && opens(self.last, next) => self.begin_strong(&held[2..]),
            Some(_) => self.write(&held),
        }
        self.last = held.chars().next_back().unwrap_or(self.last);
    }

    fn heading(&mut self, marks: &str) {
        self.line = Line::Heading;
        self.out.extend([BOLD, marks]);
    }

    fn turn_fence(&mut self, marks: &str) {
        self.fence = if self.fence > 0 { 0 } else { marks.len() };
        self.line = Line::Fence;
        self.out.extend([DIM, marks]);
    }

    /// The ticks stay: who copies code wants to see where it begins and ends.
    fn open_code(&mut self, marks: &str) {
        self.leave_begin();
        self.ticks = marks.len();
        self.out.extend([CODE, marks]);
    }

    fn close_code(&mut self, marks: &str) {
        self.ticks = 0;
        self.out += marks;
        self.restyle();
    }

    /// Two stars are the mark; further ones stay.
    fn begin_strong(&mut self, further: &str) {
        self.leave_begin();
        self.strong = true;
        self.out.extend([BOLD, further]);
    }

    fn end_strong(&mut self, further: &str) {
        self.strong = false;
        self.restyle();
        self.out += further;
    }

    /// After a style ended: those that go on.
    fn restyle(&mut self) {
        self.out += RESET;
        if self.strong || self.line == Line::Heading {
            self.out += BOLD;
        }
    }

    fn write(&mut self, text: &str) {
        self.leave_begin();
        self.out += text;
    }

    fn leave_begin(&mut self) {
        match self.line {
            Line::Begin if self.fence > 0 => {
                self.line = Line::Code;
                self.out += CODE;
            }
            Line::Begin => self.line = Line::Text,
            _ => {}
        }
    }

    fn end_line(&mut self) {
        self.end_styles();
        self.out.push('\n');
        self.line = Line::Begin;
    }

    /// No style goes beyond its line: a mark that nobody closed harms no more than that.
    fn end_styles(&mut self) {
        if self.strong || self.ticks > 0 || !matches!(self.line, Line::Begin | Line::Text) {
            self.out += RESET;
        }
        (self.strong, self.ticks) = (false, 0);
    }
}

/// Whether stars between these two characters can begin strong words: not in `a**b`, nor in `2 ** 3`.
fn opens(before: char, after: char) -> bool {
    !after.is_whitespace() && !before.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bold as `<b>`, code as `<c>`, dim as `<d>`, their end as `<>`; the same however the text is portioned.
    fn shown(text: &str) -> String {
        let names = [(BOLD, "<b>"), (DIM, "<d>"), (CODE, "<c>"), (RESET, "<>")];
        let named = |text: String| names.iter().fold(text, |text, (code, name)| text.replace(code, name));
        let whole = |portions: Vec<String>| {
            let mut markdown = Markdown::default();
            let text: String = portions.iter().map(|portion| markdown.push(portion)).collect();
            named(text + &markdown.finish())
        };
        let once = whole(vec![text.to_string()]);
        assert_eq!(whole(text.chars().map(String::from).collect()), once);
        once
    }

    #[test]
    fn headings_strong_words_and_code() {
        assert_eq!(shown("# Title\ntext"), "<b># Title<>\ntext");
        assert_eq!(shown("a **b c** d"), "a <b>b c<> d");
        assert_eq!(shown("- **b:** `x*y`, ``a`b``\n"), "- <b>b:<> <c>`x*y`<>, <c>``a`b``<>\n");
        assert_eq!(shown("**b `c` d**"), "<b>b <c>`c`<><b> d<>");
        assert_eq!(shown("## **A** `b`"), "<b>## <b>A<><b> <c>`b`<><b><>");
        assert_eq!(shown("***x***"), "<b>*x<>*");
    }

    #[test]
    fn fences() {
        let text = "see\n````rust\n# not a heading **x**\n  let `a`;\n```\n\n````\n**b**";
        let wanted = "see\n<d>````rust<>\n<c># not a heading **x**<>\n  <c>let `a`;<>\n<c>```<>\n\n<d>````<>\n<b>b<>";
        assert_eq!(shown(text), wanted);
        assert_eq!(shown("```\nx"), "<d>```<>\n<c>x<>");
    }

    #[test]
    fn what_is_no_markdown_stays() {
        let plain =
            ["2 ** 3 ** 4", "* a\n* b", "#hash", "####### x", "a*b*c", "__init__", "x ` y", "x**2", "***", "1. #x"];
        plain.iter().for_each(|text| assert_eq!(shown(text), *text));
        assert_eq!(shown("**never closed\nnext"), "<b>never closed<>\nnext");
        assert_eq!(shown("it``s\n日本 **語**"), "it<c>``s<>\n日本 <b>語<>");
    }
}
