//! What begins with `/` and is for the program, not the model.

/// In the order in which `/help` shows them.
pub const COMMANDS: [Command; 10] = [
    Command { names: &["help", "?"], argument: "", about: "this list" },
    Command {
        names: &["set"],
        argument: "[NAME VALUE]",
        about: "change how replies are sampled, as in /set temperature 0.5",
    },
    Command {
        names: &["system"],
        argument: "[TEXT]",
        about: "show the system message, or have another one (\"\": none)",
    },
    Command { names: &["undo"], argument: "", about: "take back the last message and its reply" },
    Command { names: &["regen", "retry"], argument: "", about: "reply once more to the last message" },
    Command { names: &["stats"], argument: "", about: "how fast the last reply was, how full the context is" },
    Command { names: &["save"], argument: "FILE", about: "write the conversation, and FILE.state to go on at once" },
    Command { names: &["load"], argument: "FILE", about: "go on with a conversation that /save wrote" },
    Command { names: &["reset", "clear"], argument: "", about: "forget the conversation" },
    Command { names: &["quit", "exit", "bye"], argument: "", about: "leave; Ctrl-D, too" },
];

pub struct Command {
    /// The first one is the command's, others are what other programs call it.
    pub names: &'static [&'static str],
    pub argument: &'static str,
    pub about: &'static str,
}

const KEYS: &str = "\
Ctrl-C stops a reply. A line that ends with \\ goes on in the next one,
and so does all from \"\"\" to \"\"\".";

pub fn help() -> String {
    let rows = COMMANDS.iter().map(|command| {
        let usage = format!("/{} {}", command.names[0], command.argument);
        format!("{usage:<20}{}\n", command.about)
    });
    rows.collect::<String>() + KEYS
}

/// The command that a message is, by its own name, and what follows it; `None` if the message is for the model. A path, as in
/// `/etc/hosts says what?`, is no command.
pub fn parse(message: &str) -> Option<(Result<&'static str, &str>, &str)> {
    let rest = message.strip_prefix('/')?;
    let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if !name.chars().all(|c| c.is_ascii_alphabetic() || c == '?') || name.is_empty() {
        return None;
    }
    let command = COMMANDS.iter().find(|command| command.names.contains(&name));
    Some((command.map(|command| command.names[0]).ok_or(name), argument.trim()))
}

/// A value without the quotes around it.
pub fn unquoted(value: &str) -> &str {
    let within = |quote| value.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_messages() {
        assert_eq!(parse("/set  temperature 0.5 "), Some((Ok("set"), "temperature 0.5")));
        assert_eq!(parse("/bye"), Some((Ok("quit"), "")));
        assert_eq!(parse("/sing loudly"), Some((Err("sing"), "loudly")));
        for message in ["hello", "/etc/hosts says what?", "/", "/ 2", "//", "a /quit"] {
            assert_eq!(parse(message), None, "{message}");
        }
    }

    #[test]
    fn quotes_are_taken_off_in_pairs() {
        assert_eq!(["\"\"", "'a b'", "\"a", "\""].map(unquoted), ["", "a b", "\"a", "\""]);
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = COMMANDS.iter().flat_map(|command| command.names).copied().collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
