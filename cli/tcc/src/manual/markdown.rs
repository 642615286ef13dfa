//! A program's commands and their arguments as a page of Markdown.

use std::fmt::Write;

use clap::{Arg, Command};

pub fn page(mut program: Command) -> String {
    program.build();
    let name = program.get_name().to_string();
    let commands: Vec<Command> = program.get_subcommands().filter(|command| is_shown(command)).cloned().collect();
    let mut text = format!("# {name}\n\n{}.\n\n| | |\n|---|---|\n", about(&program).trim_end_matches('.'));
    for command in &commands {
        let title = title(&name, command);
        let _ = writeln!(text, "| [`{title}`](#{}) | {} |", title.replace(' ', "-"), cell(&about(command)));
    }
    text += "\n`--help` after any command shows what it takes, `--version` the program's version.\n";
    text.extend(commands.into_iter().map(|command| section(&name, command)));
    text
}

fn is_shown(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

fn title(program: &str, command: &Command) -> String {
    format!("{program} {}", command.get_name())
}

fn section(program: &str, mut command: Command) -> String {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_string();
    let mut text = format!("\n## {}\n\n{}.\n\n```text\n{usage}\n```\n", title(program, &command), about(&command));
    let shown = |arg: &&Arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    let rows: Vec<String> =
        command.get_positionals().chain(command.get_opts()).chain(flags(&command)).filter(shown).map(row).collect();
    if !rows.is_empty() {
        text += &format!("\n| | |\n|---|---|\n{}", rows.concat());
    }
    if let Some(more) = command.get_after_long_help() {
        text += &format!("\n```text\n{more}\n```\n");
    }
    text
}

/// Options that take no value.
fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_positional() && !arg.get_action().takes_values())
}

fn row(arg: &Arg) -> String {
    let names = [arg.get_short().map(|short| format!("-{short}")), arg.get_long().map(|long| format!("--{long}"))];
    let mut name = names.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if arg.get_action().takes_values() {
        let values = arg.get_value_names().unwrap_or_default().join("> <");
        let separator = if name.is_empty() || arg.is_require_equals_set() { "" } else { " " };
        name = match arg.is_require_equals_set() {
            true => format!("{name}[=<{values}>]"),
            false => format!("{name}{separator}<{values}>"),
        };
    }
    format!("| `{}` | {} |\n", name.replace('|', "\\|"), cell(&description(arg)))
}

fn description(arg: &Arg) -> String {
    let mut text = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if arg.get_action().takes_values() && !defaults.is_empty() {
        let _ = write!(text, " [default: {}]", defaults.join(" "));
    }
    let values: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_string()).collect();
    if arg.get_action().takes_values() && !values.is_empty() {
        let _ = write!(text, " [{}]", values.join(", "));
    }
    text
}

fn about(command: &Command) -> String {
    command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default()
}

fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|").replace('<', "&lt;")
}
