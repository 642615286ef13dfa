//! Chat formats of checkpoints that come without a template: what their publishers' own code writes.

use super::Specials;
use super::literal::pieces;
use tcrt::chat::{ChatFormat, Date, SystemPlace, Trim, Turn};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Llama2,
    Llama3,
    /// The instruct models 0.1 and 0.2 of Mistral 7B.
    MistralV1,
    /// Those of the tokenizer with control tokens, version 3.
    MistralV3,
    /// Those of version 3 of the tokenizer tekken, Nemo for one.
    MistralTekken,
}

impl Family {
    pub const ALL: [(&'static str, Self); 5] = [
        ("llama2", Self::Llama2),
        ("llama3", Self::Llama3),
        ("mistral-v1", Self::MistralV1),
        ("mistral-v3", Self::MistralV3),
        ("mistral-tekken", Self::MistralTekken),
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|entry| entry.0 == name).map(|entry| entry.1)
    }
}

/// A family's format in a few strings.
struct Outline {
    opening: &'static str,
    system: (SystemPlace, &'static str, &'static str),
    late_system: Option<(&'static str, &'static str)>,
    user: (&'static str, &'static str, Trim),
    assistant: (&'static str, &'static str, Trim),
    generation: &'static str,
    stop: &'static str,
}

const LLAMA2: Outline = Outline {
    opening: "",
    system: (SystemPlace::FirstUser, "<<SYS>>\n", "\n<</SYS>>\n\n"),
    late_system: None,
    user: ("<s>[INST] ", " [/INST]", Trim::BOTH),
    assistant: (" ", " </s>", Trim::BOTH),
    generation: "",
    stop: "</s>",
};

const LLAMA3: Outline = Outline {
    opening: "<|begin_of_text|>",
    system: (SystemPlace::OwnTurn, "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
    late_system: Some(("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>")),
    user: ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>", Trim::BOTH),
    assistant: ("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>", Trim::BOTH),
    generation: "<|start_header_id|>assistant<|end_header_id|>\n\n",
    stop: "<|eot_id|>",
};

const MISTRAL_V1: Outline = Outline {
    opening: "<s>",
    system: (SystemPlace::FirstUser, "", "\n\n"),
    late_system: None,
    user: (" [INST] ", " [/INST]", Trim::NONE),
    assistant: (" ", "</s>", Trim::NONE),
    generation: "",
    stop: "</s>",
};

const MISTRAL_V3: Outline = Outline {
    system: (SystemPlace::LastUser, "", "\n\n"),
    user: ("[INST] ", "[/INST]", Trim::NONE),
    assistant: (" ", "</s>", Trim::BOTH),
    ..MISTRAL_V1
};

const MISTRAL_TEKKEN: Outline =
    Outline { user: ("[INST]", "[/INST]", Trim::NONE), assistant: ("", "</s>", Trim::NONE), ..MISTRAL_V3 };

/// The format of a family, cut by the tokens of the checkpoint's own tokenizer.
pub fn builtin(family: Family, specials: &Specials<'_>) -> ChatFormat {
    let outline = match family {
        Family::Llama2 => LLAMA2,
        Family::Llama3 => LLAMA3,
        Family::MistralV1 => MISTRAL_V1,
        Family::MistralV3 => MISTRAL_V3,
        Family::MistralTekken => MISTRAL_TEKKEN,
    };
    let turn =
        |(prefix, suffix, trim)| Turn { prefix: pieces(prefix, specials), suffix: pieces(suffix, specials), trim };
    let (system_place, system_prefix, system_suffix) = outline.system;
    let own_turn = system_place == SystemPlace::OwnTurn;
    ChatFormat {
        opening: pieces(outline.opening, specials),
        system_place,
        system: turn((system_prefix, system_suffix, if own_turn { outline.user.2 } else { Trim::NONE })),
        trim_joined: !own_turn && outline.user.2 == Trim::BOTH,
        skip_empty_system: false,
        late_system: outline.late_system.map(|(prefix, suffix)| turn((prefix, suffix, outline.user.2))),
        user: turn(outline.user),
        assistant: turn(outline.assistant),
        reasoning: None,
        generation: pieces(outline.generation, specials),
        must_alternate: !own_turn,
        may_end_with_reply: true,
        stop_tokens: vec![outline.stop.to_owned()],
        stop_strings: vec![],
        date: Date::DEFAULT,
    }
}
