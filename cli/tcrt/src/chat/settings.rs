//! `/set`: what the flags of sampling say, changed while talking.

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::args::Sampling;
use crate::options;
use crate::output::{Result, failure};

#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Flags {
    #[command(flatten)]
    sampling: Sampling,
}

/// The settings' names.
pub fn names() -> Vec<String> {
    Flags::command().get_arguments().filter_map(|argument| argument.get_long().map(String::from)).collect()
}

/// The sampling with one setting changed; an empty value turns off what can be off.
pub fn set(sampling: &Sampling, name: &str, value: &str, vocab: usize) -> Result<Sampling> {
    let name = name.trim_start_matches('-').replace('_', "-");
    if !names().contains(&name) {
        return failure(format!("there is no setting {name:?}; there are {}", names().join(", ")));
    }
    let mut changed = sampling.clone();
    match (name.as_str(), value) {
        ("json-schema" | "grammar", _) => (changed.json_schema, changed.grammar) = (None, None),
        ("stop", _) => changed.stop.clear(),
        ("logit-bias", _) => changed.logit_bias.clear(),
        ("seed", _) => changed.seed = None,
        ("max-new-tokens", _) => changed.max = None,
        (_, "") => return failure(format!("{name} needs a value")),
        _ => {}
    }
    if !value.is_empty() {
        update(&mut changed, &format!("--{name}={value}")).or_else(|error| failure(first_line(&error)))?;
    }
    options::sampler(&changed).validate(vocab)?;
    options::grammar(&changed)?;
    Ok(changed)
}

/// Changes what the argument says and nothing else, whatever defaults there are.
fn update(sampling: &mut Sampling, argument: &str) -> std::result::Result<(), clap::Error> {
    let mut matches = Flags::command().try_get_matches_from([argument])?;
    let given = |matches: &clap::ArgMatches, id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let defaults: Vec<String> = matches.ids().map(|id| id.to_string()).filter(|id| !given(&matches, id)).collect();
    for id in defaults {
        // An id that came from the matches themselves is known to them.
        let _ = matches.try_clear_id(&id);
    }
    sampling.update_from_arg_matches(&matches)
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_string()
}

/// All of them, for people.
pub fn shown(sampling: &Sampling) -> String {
    let Sampling { temperature, top_p, top_k, min_p, .. } = sampling;
    let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = sampling;
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
    let limit = sampling.max.map_or("none".into(), |max| max.to_string());
    let seed = sampling.seed.map_or("from the clock".into(), |seed| seed.to_string());
    let bias: Vec<String> = sampling.logit_bias.iter().map(|(id, bias)| format!("{id}={bias}")).collect();
    let rows: [(&str, String); 13] = [
        ("max-new-tokens", limit),
        ("temperature", temperature.to_string()),
        ("top-p", top_p.to_string()),
        ("top-k", top_k.to_string()),
        ("min-p", min_p.to_string()),
        ("repetition-penalty", repetition_penalty.to_string()),
        ("presence-penalty", presence_penalty.to_string()),
        ("frequency-penalty", frequency_penalty.to_string()),
        ("seed", seed),
        ("logit-bias", if bias.is_empty() { "none".into() } else { bias.join(" ") }),
        ("stop", if sampling.stop.is_empty() { "none".into() } else { format!("{:?}", sampling.stop) }),
        ("json-schema", or_none(&sampling.json_schema)),
        ("grammar", or_none(&sampling.grammar)),
    ];
    rows.map(|(name, value)| format!("{name:<20}{value}")).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling() -> Sampling {
        Flags::parse_from(["--top-p", "0.5", "--seed", "7"]).sampling
    }

    #[test]
    fn one_setting_changes_and_the_others_stay() {
        let changed = set(&sampling(), "temperature", "0.25", 10).unwrap();
        assert_eq!((changed.temperature, changed.top_p, changed.seed), (0.25, 0.5, Some(7)));
        let changed = set(&changed, "--top_k", "3", 10).unwrap();
        assert_eq!((changed.temperature, changed.top_k), (0.25, 3));
        let changed = set(&set(&changed, "stop", "- end", 10).unwrap(), "seed", "", 10).unwrap();
        assert_eq!((&changed.stop[..], changed.seed), (&["- end".to_string()][..], None));
        let changed = set(&set(&changed, "grammar", "root ::= \"a\"", 10).unwrap(), "json-schema", "{}", 10).unwrap();
        assert_eq!((changed.grammar, changed.json_schema.as_deref()), (None, Some("{}")));
    }

    #[test]
    fn every_flag_of_sampling_is_shown() {
        let shown = shown(&sampling());
        let first: Vec<&str> = shown.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let mut names = names();
        names.sort_by_key(|name| first.iter().position(|shown| shown == name));
        assert_eq!(names, first);
    }

    #[test]
    fn mistakes_are_one_line() {
        let refused = |name, value| set(&sampling(), name, value, 10).unwrap_err().to_string();
        assert!(refused("heat", "1").contains("no setting \"heat\"; there are max-new-tokens, temperature"));
        assert!(refused("temperature", "warm").contains("invalid value 'warm'"));
        assert!(refused("temperature", "-1").contains("it must be 0 or more"));
        assert!(refused("top-p", "").contains("needs a value"));
        assert!(refused("logit-bias", "99=1").contains("outside the vocabulary"));
    }
}
