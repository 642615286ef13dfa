//! From a document to what the model is asked, task by task: the harness's `doc_to_text`, `doc_to_choice` and `doc_to_target`.

use serde_json::{Map, Value};

use super::Kind;

type Document = Map<String, Value>;

/// A question with its possible answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What stands before, and what is predicted after it, for each choice.
    pub pairs: Vec<(String, String)>,
    /// Characters of each choice.
    pub lengths: Vec<usize>,
    pub gold: usize,
}

pub fn question(kind: Kind, document: &Document) -> Result<Question, String> {
    let question = match kind {
        Kind::Hellaswag => hellaswag(document),
        Kind::Arc => arc(document),
        Kind::Piqa => piqa(document),
        Kind::Winogrande => winogrande(document),
        Kind::Mmlu => mmlu(document),
        Kind::Wikitext => Err("is a text, not a question".to_string()),
    }?;
    match (question.pairs.is_empty(), question.gold < question.pairs.len()) {
        (true, _) => Err("has no choices".to_string()),
        (_, true) => Ok(question),
        (_, false) => Err(format!("answer {} of {} choices", question.gold, question.pairs.len())),
    }
}

/// One context, and the choices after it.
fn asked(context: String, choices: &[String], gold: usize) -> Question {
    Question {
        pairs: choices.iter().map(|choice| (context.clone(), format!(" {choice}"))).collect(),
        lengths: choices.iter().map(|choice| choice.chars().count()).collect(),
        gold,
    }
}

fn hellaswag(document: &Document) -> Result<Question, String> {
    let (label, a, b) = (text(document, "activity_label")?, text(document, "ctx_a")?, text(document, "ctx_b")?);
    let query = wikihow(&format!("{label}: {a} {}", capitalized(b)));
    let choices: Vec<String> = texts(document, "endings")?.into_iter().map(wikihow).collect();
    Ok(asked(query, &choices, number(document, "label")?))
}

/// Without what is left of WikiHow's markup.
fn wikihow(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(open) = rest.find('[') {
        // A bracket closes on its own line or not at all.
        let Some(close) = rest[open..].find(['\n', ']']).filter(|close| rest[open + close..].starts_with(']')) else {
            kept += &rest[..=open];
            rest = &rest[open + 1..];
            continue;
        };
        kept += &rest[..open];
        rest = &rest[open + close + 1..];
    }
    (kept + rest).replace("  ", " ")
}

/// Python's `str.capitalize`.
fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    first + &chars.as_str().to_lowercase()
}

fn arc(document: &Document) -> Result<Question, String> {
    let choices = document.get("choices").and_then(Value::as_object).ok_or("\"choices\" is no object")?;
    let (labels, answer) = (texts(choices, "label")?, text(document, "answerKey")?);
    let gold = labels.iter().position(|label| *label == answer);
    let gold = gold.ok_or_else(|| format!("\"answerKey\": \"{answer}\" is none of {labels:?}"))?;
    Ok(asked(format!("Question: {}\nAnswer:", text(document, "question")?), &owned(texts(choices, "text")?), gold))
}

fn piqa(document: &Document) -> Result<Question, String> {
    let choices = owned(vec![text(document, "sol1")?, text(document, "sol2")?]);
    Ok(asked(format!("Question: {}\nAnswer:", text(document, "goal")?), &choices, number(document, "label")?))
}

/// The choices stand in the context; the same words follow each.
fn winogrande(document: &Document) -> Result<Question, String> {
    let sentence = text(document, "sentence")?;
    let (before, after) = sentence.split_once('_').ok_or("\"sentence\" has no _")?;
    let options = [text(document, "option1")?, text(document, "option2")?];
    let answer = number(document, "answer")?;
    Ok(Question {
        pairs: options.iter().map(|option| (format!("{before}{option}"), format!(" {}", after.trim()))).collect(),
        lengths: options.iter().map(|option| before.chars().count() + option.chars().count()).collect(),
        gold: answer.checked_sub(1).ok_or("\"answer\" is neither 1 nor 2")?,
    })
}

fn mmlu(document: &Document) -> Result<Question, String> {
    const LETTERS: [&str; 4] = ["A", "B", "C", "D"];
    let choices = texts(document, "choices")?;
    if choices.len() != LETTERS.len() {
        return Err(format!("has {} choices, not 4", choices.len()));
    }
    let subject = text(document, "subject")?.replace('_', " ");
    let mut context = format!("The following are multiple choice questions (with answers) about {subject}.\n\n");
    context += text(document, "question")?.trim();
    LETTERS.iter().zip(&choices).for_each(|(letter, choice)| context += &format!("\n{letter}. {choice}"));
    let answer = number(document, "answer")?;
    Ok(asked(context + "\nAnswer:", &LETTERS.map(String::from), answer))
}

pub fn text<'a>(document: &'a Document, key: &str) -> Result<&'a str, String> {
    document.get(key).and_then(Value::as_str).ok_or_else(|| format!("\"{key}\" is no text"))
}

fn texts<'a>(document: &'a Document, key: &str) -> Result<Vec<&'a str>, String> {
    let list = document.get(key).and_then(Value::as_array);
    let texts: Option<Vec<&str>> = list.and_then(|list| list.iter().map(Value::as_str).collect());
    texts.ok_or_else(|| format!("\"{key}\" is no list of texts"))
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(String::from).collect()
}

/// A number, or the digits of one.
fn number(document: &Document, key: &str) -> Result<usize, String> {
    let number = match document.get(key) {
        Some(Value::String(digits)) => digits.trim().parse().ok(),
        value => value.and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok()),
    };
    number.ok_or_else(|| format!("\"{key}\" is no number"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(kind: Kind, document: Value) -> Result<Question, String> {
        question(kind, document.as_object().unwrap())
    }

    #[test]
    fn hellaswag_loses_its_markup() {
        let question = ask(
            Kind::Hellaswag,
            json!({"activity_label": "Baking", "ctx_a": "[header] How to bake [title] Mix  it.", "ctx_b": "the Cook",
                   "endings": ["stirs [step] well. ", "[unclosed"], "label": "1"}),
        );
        let question = question.unwrap();
        // The harness replaces two spaces by one a single time.
        assert_eq!(
            question.pairs[0],
            ("Baking: How to bake. Mix it. The cook".to_string(), " stirs well.".to_string())
        );
        assert_eq!(
            (question.pairs[1].1.as_str(), question.gold, &question.lengths[..]),
            (" [unclosed", 1, &[11, 9][..])
        );
    }

    #[test]
    fn the_others_ask_as_the_harness_does() {
        let arc = json!({"question": "Why?", "choices": {"text": ["a", "b c"], "label": ["1", "2"]}, "answerKey": "2"});
        let arc = ask(Kind::Arc, arc).unwrap();
        assert_eq!(arc.pairs[1], ("Question: Why?\nAnswer:".to_string(), " b c".to_string()));
        assert_eq!((arc.gold, arc.lengths), (1, vec![1, 3]));
        let piqa = ask(Kind::Piqa, json!({"goal": "g", "sol1": "x", "sol2": "y", "label": 0})).unwrap();
        assert_eq!(piqa.pairs[1], ("Question: g\nAnswer:".to_string(), " y".to_string()));
        let winogrande = json!({"sentence": "The _ is big. ", "option1": "cat", "option2": "dog", "answer": "2"});
        let winogrande = ask(Kind::Winogrande, winogrande).unwrap();
        assert_eq!(winogrande.pairs[0], ("The cat".to_string(), " is big.".to_string()));
        assert_eq!(winogrande.gold, 1);
        let mmlu =
            json!({"question": " Q ", "subject": "high_school_physics", "choices": ["p", "q", "r", "s"], "answer": 3});
        let mmlu = ask(Kind::Mmlu, mmlu).unwrap();
        let context = "The following are multiple choice questions (with answers) about high school physics.\n\n\
                       Q\nA. p\nB. q\nC. r\nD. s\nAnswer:";
        assert_eq!(mmlu.pairs[3], (context.to_string(), " D".to_string()));
    }

    #[test]
    fn what_lacks_a_part_is_refused_by_its_key() {
        let refused = |kind, document| ask(kind, document).unwrap_err();
        assert!(refused(Kind::Piqa, json!({"goal": "g", "sol1": "x", "label": 0})).contains("\"sol2\""));
        assert!(refused(Kind::Piqa, json!({"goal": "g", "sol1": "x", "sol2": "y", "label": 2})).contains("answer 2"));
        assert!(refused(Kind::Winogrande, json!({"sentence": "none"})).contains('_'));
        let arc = json!({"question": "q", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "E"});
        assert!(refused(Kind::Arc, arc).contains("answerKey"));
        assert!(refused(Kind::Mmlu, json!({"question": "q", "choices": ["a"], "subject": "s"})).contains("1 choices"));
    }
}
