//! The recipes that `--quantize` knows by name: torchchat's, and `auto`.

pub const PROFILES: [(&str, &str); 5] = [
    ("auto", r#"{"auto": {"bits_per_weight": 4.5}}"#),
    ("mobile", r#"{"embedding": {"bitwidth": 4, "groupsize": 32}, "linear:a8w4dq": {"groupsize": 256}}"#),
    ("desktop", r#"{"executor": {"accelerator": "fast"}, "precision": {"dtype": "fast16"}}"#),
    (
        "cuda",
        r#"{"executor": {"accelerator": "cuda"}, "precision": {"dtype": "bf16"}, "linear:int4": {"groupsize": 256}}"#,
    ),
    (
        "pi5",
        r#"{"executor": {"accelerator": "cpu"}, "precision": {"dtype": "fast16"},
            "embedding": {"bitwidth": 4, "groupsize": 32}, "linear:a8w4dq": {"groupsize": 256}}"#,
    ),
];

pub fn find(name: &str) -> Option<&'static str> {
    PROFILES.into_iter().find_map(|(known, json)| (known == name).then_some(json))
}

pub fn names() -> String {
    PROFILES.map(|(name, _)| name).join(", ")
}
