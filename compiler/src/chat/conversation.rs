//! Conversations to run a template on, and how an error names one.

use tcrt::chat::{Message, Role};

/// Shorthand: `s`, `u` and `a` are the roles.
pub type Turns<'a> = Vec<(char, &'a str)>;

pub fn messages<'a>(turns: &[(char, &'a str)]) -> Vec<Message<'a>> {
    turns.iter().map(|&(role, content)| Message { role: role_of(role), content }).collect()
}

fn role_of(shorthand: char) -> Role {
    match shorthand {
        's' => Role::System,
        'u' => Role::User,
        _ => Role::Assistant,
    }
}

pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// `[user "hi", assistant "yo"]`
pub fn describe(turns: &[(char, &str)]) -> String {
    let turn = |&(role, content): &(char, &str)| format!("{} {content:?}", role_name(role_of(role)));
    format!("[{}]", turns.iter().map(turn).collect::<Vec<_>>().join(", "))
}
