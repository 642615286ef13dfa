//! As a person has it: typed into a terminal, and what its screen then shows.

use std::path::Path;

use crate::home;
use crate::screen::Screen;

/// What a model of random weights is told to say.
const REPLY: &str = "root ::= \"## Sea\\nA **blue** `x` 日本語\"";

fn chat(home: &Path, args: &[&str]) -> Screen {
    let mut screen = Screen::new(home, &[&["chat", "tiny.pte", "-s", "1"], args].concat(), 24, 60);
    assert!(screen.settle("> ").contains("Ctrl-D leaves."));
    screen
}

/// Types a line and waits for the prompt after what it leads to.
fn say(screen: &mut Screen, line: &str) -> String {
    screen.send(&format!("{line}\r"));
    screen.settle("> ")
}

#[test]
fn a_reply_is_shown_with_styles_and_figures() {
    let home = home();
    let mut screen = chat(home.path(), &["--grammar", REPLY]);
    let shown = say(&mut screen, "hello");
    assert!(shown.contains("> hello\n## Sea\nA blue `x` 日本語\n["), "{shown}");
    assert!(shown.contains(" tokens at "), "{shown}");
    assert!(screen.is_bold("## Sea") && screen.is_bold("blue") && !screen.is_bold("A "));
    assert!(screen.is_coloured("`x`") && !screen.is_coloured("日本語"));
    screen.send("\x04");
    assert_eq!(screen.end(), Some(0));
}

#[test]
fn no_styles_where_they_are_not_wanted() {
    let home = home();
    let mut screen =
        Screen::with_env(home.path(), &["chat", "tiny.pte", "--grammar", REPLY], 24, 60, &[("NO_COLOR", "1")]);
    screen.settle("> ");
    let shown = say(&mut screen, "hello");
    assert!(shown.contains("## Sea\nA **blue** `x` 日本語\n"), "{shown}");
    assert!(!screen.is_bold("blue") && !screen.is_coloured("`x`"));
}

#[test]
fn control_c_stops_a_reply_and_leaves_at_the_second_empty_prompt() {
    let home = home();
    // A reply that would go on for minutes: the token that ends it is forbidden.
    let mut screen = chat(
        home.path(),
        &["--grammar", "root ::= \"go\" (\" on\")*", "--context", "200000", "--logit-bias", "511=-inf"],
    );
    screen.send("hello\r");
    screen.wait("go on on on");
    screen.send("\x03");
    let shown = screen.settle("> ");
    assert!(shown.contains(", stopped]"), "{shown}");
    assert!(say(&mut screen, "/stats").contains("turns      1"));
    screen.send("half a line\x03");
    assert!(screen.settle("> ").contains("Ctrl-C once more leaves"));
    assert!(say(&mut screen, "/set seed 3").ends_with("> "));
    screen.send("\x03");
    screen.settle("> ");
    screen.send("\x03");
    assert_eq!(screen.end(), Some(0));
}

#[test]
fn lines_are_edited_recalled_and_span_several() {
    let home = home();
    let mut screen = chat(home.path(), &["--grammar", REPLY]);
    // Left twice and a deletion, in characters that are two cells wide.
    say(&mut screen, "日本x語\x1b[D\x7f");
    let shown = say(&mut screen, "\x1b[A");
    assert_eq!(shown.matches("> 日本語\n").count(), 2, "{shown}");
    say(&mut screen, "one \\\rtwo");
    say(&mut screen, "\"\"\"\rthree\rfour\"\"\"");
    say(&mut screen, "five\x1b\rsix");
    // What is pasted is not sent before Enter.
    say(&mut screen, "\x1b[200~seven\neight\n\x1b[201~nine");
    say(&mut screen, "/save talk.json");
    let saved = std::fs::read_to_string(home.path().join("talk.json")).unwrap();
    for message in ["日本語", "one \\ntwo", "three\\nfour", "five\\nsix", "seven\\neight\\nnine"] {
        assert!(saved.contains(&format!("\"content\": \"{message}\"")), "{message}: {saved}");
    }
    screen.send("\x04");
    assert_eq!(screen.end(), Some(0));
    // Another day.
    let mut screen = chat(home.path(), &[]);
    screen.send("\x1b[A");
    screen.wait("> /save talk.json");
    screen.send("\x1b[A");
    screen.wait("seven\neight\nnine");
}

#[test]
fn a_conversation_is_taken_back_saved_and_gone_on_with() {
    let home = home();
    let mut screen = chat(home.path(), &["-n", "12", "--system", "be"]);
    say(&mut screen, "first");
    say(&mut screen, "second");
    let once = say(&mut screen, "/save talk.json");
    assert!(once.contains("talk.json holds 2 turns."), "{once}");
    let first = say(&mut screen, "third");
    assert!(say(&mut screen, "/undo").contains("Taken back: third"));
    assert!(say(&mut screen, "/undo").contains("Taken back: second"));
    assert!(say(&mut screen, "/load talk.json").contains("2 turns; the last is:\n> second"));
    let again = say(&mut screen, "third");
    let stats = say(&mut screen, "/stats");
    let answer = |shown: &str| shown.rsplit_once("> third\n").unwrap().1.split("\n[").next().unwrap().to_string();
    assert_eq!(answer(&first), answer(&again), "the same past and seed give the same reply");
    assert!(stats.contains("turns      3"), "{stats}");
    let words: Vec<&str> = stats.rsplit_once("reused").unwrap().1.split_whitespace().collect();
    let [reused, prompt] = [words[0], words[2]].map(|count| count.parse::<usize>().unwrap());
    assert_eq!(prompt - reused, "\nuser: third\nassistant:".len(), "only the new message was run: {stats}");
    screen.send("/reset\r");
    screen.settle("> ");
    assert!(say(&mut screen, "/stats").contains("turns      0"));
}

#[test]
fn a_line_is_redrawn_when_the_window_changes() {
    let home = home();
    let mut screen = chat(home.path(), &[]);
    screen.send("a line that is much longer than twenty cells");
    screen.wait("twenty cells");
    screen.resize(24, 20);
    screen.wait("a line that is muc\nh longer than twenty\n cells");
    screen.send("\x7f");
    screen.wait(" cell");
    screen.send("\x15\x04");
    assert_eq!(screen.end(), Some(0));
}

#[test]
fn mistakes_end_nothing() {
    let home = home();
    let mut screen = chat(home.path(), &[]);
    for (line, expected) in [
        ("/sing", "/sing is no command; /help shows them"),
        ("/set heat 3", "there is no setting \"heat\""),
        ("/set temperature -1", "it must be 0 or more"),
        ("/load nothing", "nothing: "),
        ("/save", "/save needs the name of a file"),
        ("/undo", "there is nothing to take back"),
        ("/regen", "there is no message to reply to"),
        ("/help", "/regen"),
    ] {
        let shown = say(&mut screen, line);
        assert!(shown.replace('\n', "").contains(expected), "{line}: {shown}");
    }
    screen.send("/quit\r");
    assert_eq!(screen.end(), Some(0));
}
