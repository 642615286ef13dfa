//! A program on a terminal of its own, and what that shows.

use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};
use vt100::{Cell, Parser};

/// A test that waits so often, so long each time, has failed. Counted, because a machine may stand still for minutes.
const PATIENCE: usize = 6000;
const WAIT: Duration = Duration::from_millis(10);

/// What a line editor says when it begins to read: to be told what is pasted.
const READING: &[u8] = b"\x1b[?2004h";

struct Shown {
    parser: Parser,
    /// How often the program has begun to read a line.
    prompts: usize,
    /// The last bytes, which may be the beginning of `READING`.
    tail: Vec<u8>,
    ended: bool,
}

impl Shown {
    fn take(&mut self, bytes: &[u8]) {
        self.parser.process(bytes);
        self.tail.extend(bytes);
        self.prompts += self.tail.windows(READING.len()).filter(|window| *window == READING).count();
        self.tail.drain(..self.tail.len().saturating_sub(READING.len() - 1));
    }
}

pub struct Screen {
    pty: Arc<Pty>,
    child: Child,
    shown: Arc<(Mutex<Shown>, Condvar)>,
    /// Prompts that were waited for.
    prompts: usize,
}

impl Screen {
    /// `tcc` in a directory, which is its home, too.
    pub fn new(home: &Path, args: &[&str], rows: u16, columns: u16) -> Screen {
        Screen::with_env(home, args, rows, columns, &[])
    }

    pub fn with_env(home: &Path, args: &[&str], rows: u16, columns: u16, env: &[(&str, &str)]) -> Screen {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(rows, columns)).unwrap();
        let command = Command::new(env!("CARGO_BIN_EXE_tcc")).args(args).current_dir(home).env_remove("NO_COLOR");
        let command = command.env("TCC_STATE", home).env("TCC_CACHE", home.join("cache")).env("TERM", "xterm-256color");
        let child = command.envs(env.iter().copied()).spawn(pts).unwrap();
        let pty = Arc::new(pty);
        let shown =
            Shown { parser: Parser::new(cells(rows), cells(columns), 0), prompts: 0, tail: Vec::new(), ended: false };
        let shown = Arc::new((Mutex::new(shown), Condvar::new()));
        std::thread::spawn({
            let (pty, shown) = (Arc::clone(&pty), Arc::clone(&shown));
            move || feed(&pty, &shown)
        });
        Screen { pty, child, shown, prompts: 0 }
    }

    pub fn send(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        self.shown.0.lock().unwrap().parser.screen_mut().set_size(cells(rows), cells(columns));
        self.pty.resize(Size::new(rows, columns)).unwrap();
    }

    /// Waits until the screen holds this text.
    pub fn wait(&mut self, text: &str) -> String {
        self.until(&format!("{text:?}"), |_, screen| screen.contains(text))
    }

    /// Waits for the next prompt, in the last line.
    pub fn settle(&mut self, prompt: &str) -> String {
        self.prompts += 1;
        let count = self.prompts;
        let holds = |prompts, screen: &str| prompts == count && screen.lines().last() == Some(prompt);
        self.until(&format!("prompt {prompt:?}"), holds)
    }

    fn until(&mut self, what: &str, holds: impl Fn(usize, &str) -> bool) -> String {
        let (shown, changed) = &*self.shown;
        let mut shown = shown.lock().unwrap();
        let mut waits = 0;
        loop {
            let text = text(&shown.parser);
            if holds(shown.prompts, &text) {
                return text;
            }
            assert!(!shown.ended && waits < PATIENCE, "no {what} on the screen:\n{text}");
            shown = changed.wait_timeout(shown, WAIT).unwrap().0;
            waits += 1;
        }
    }

    pub fn is_bold(&self, text: &str) -> bool {
        self.all_cells(text, Cell::bold)
    }

    pub fn is_coloured(&self, text: &str) -> bool {
        self.all_cells(text, |cell| cell.fgcolor() != vt100::Color::Default)
    }

    /// Of the last place on the screen where the text stands.
    fn all_cells(&self, text: &str, holds: impl Fn(&Cell) -> bool) -> bool {
        let shown = self.shown.0.lock().unwrap();
        let screen = shown.parser.screen();
        let (rows, columns) = screen.size();
        let (rows, columns) = (rows.get(), columns.get());
        for row in (0..rows).rev() {
            let line: Vec<&Cell> = (0..columns).filter_map(|column| screen.cell(row, column)).collect();
            let line: Vec<&Cell> = line.into_iter().filter(|cell| !cell.is_wide_continuation()).collect();
            for begin in (0..line.len()).rev() {
                let count = text.chars().count();
                let cells = &line[begin..line.len().min(begin + count)];
                let found: String =
                    cells.iter().map(|cell| if cell.has_contents() { cell.contents() } else { " " }).collect();
                if found == text {
                    return cells.iter().all(|cell| holds(cell));
                }
            }
        }
        panic!("{text:?} is not on the screen");
    }

    /// Waits for the program's end, and gives its exit code.
    pub fn end(mut self) -> Option<i32> {
        for _ in 0..PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(WAIT);
        }
        panic!("it did not end:\n{}", text(&self.shown.0.lock().unwrap().parser));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where a test has not seen to it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

/// Without the blanks that rows end with; the cursor's row keeps those before it.
fn text(parser: &Parser) -> String {
    let screen = parser.screen();
    let (_, columns) = screen.size();
    let mut rows: Vec<String> = screen.rows(0, columns.get()).map(|row| row.trim_end().to_string()).collect();
    let (row, column) = screen.cursor_position();
    let cursor = &mut rows[usize::from(row)];
    let missing = usize::from(column).saturating_sub(cursor.chars().count());
    if cursor.is_ascii() {
        cursor.extend(std::iter::repeat_n(' ', missing));
    }
    rows.truncate(usize::from(row).max(rows.iter().rposition(|row| !row.is_empty()).unwrap_or(0)) + 1);
    rows.join("\n")
}

fn feed(mut pty: &Pty, (shown, changed): &(Mutex<Shown>, Condvar)) {
    let mut bytes = [0; 4096];
    // The terminal is gone when its program is.
    while let Ok(count @ 1..) = pty.read(&mut bytes) {
        shown.lock().unwrap().take(&bytes[..count]);
        changed.notify_all();
    }
    shown.lock().unwrap().ended = true;
    changed.notify_all();
}
