//! The files of tasks: JSON lines, a JSON list, or for wikitext the text itself.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::super::EvalError;
use super::{Kind, wikitext};

/// A task, and the file that its documents are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFile {
    pub name: String,
    pub kind: Kind,
    pub path: PathBuf,
}

type Document = Map<String, Value>;

/// `TASK=FILE`, a file named after its task, or a directory of such files, with commas between several.
pub fn task_files(list: &str) -> Result<Vec<TaskFile>, EvalError> {
    let mut files = Vec::new();
    for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match entry.split_once('=') {
            Some((name, path)) => files.push(task_file(name, PathBuf::from(path))?),
            None if Path::new(entry).is_dir() => files.extend(in_directory(Path::new(entry))?),
            None => files.push(task_file(&stem(Path::new(entry)), PathBuf::from(entry))?),
        }
    }
    if files.is_empty() {
        return Err(EvalError::Tasks(list.to_string(), "names no task".to_string()));
    }
    Ok(files)
}

fn task_file(name: &str, path: PathBuf) -> Result<TaskFile, EvalError> {
    let kind = Kind::named(name).ok_or_else(|| {
        let known = "hellaswag, arc_easy, arc_challenge, piqa, winogrande, mmlu, mmlu_SUBJECT, wikitext";
        EvalError::Tasks(name.to_string(), format!("is no known task ({known} are); give it as TASK=FILE"))
    })?;
    Ok(TaskFile { name: name.to_string(), kind, path })
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The files of a directory that are named after tasks, in the order of their names.
fn in_directory(directory: &Path) -> Result<Vec<TaskFile>, EvalError> {
    let failed = |why: String| EvalError::File { path: directory.to_path_buf(), why };
    let entries = std::fs::read_dir(directory).map_err(|error| failed(error.to_string()))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(|error| failed(error.to_string()))?;
    paths.retain(|path| path.is_file() && Kind::named(&stem(path)).is_some());
    paths.sort();
    match paths.is_empty() {
        true => Err(failed("has no file named after a task, such as hellaswag.jsonl".to_string())),
        false => paths.into_iter().map(|path| task_file(&stem(&path), path)).collect(),
    }
}

/// The documents of a task, `limit` at most.
pub fn read(task: &TaskFile, limit: Option<usize>) -> Result<Vec<Document>, EvalError> {
    let failed = |why: String| EvalError::File { path: task.path.clone(), why };
    let bytes = std::fs::read(&task.path).map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8(bytes)
        .map_err(|error| failed(format!("is not UTF-8 from byte {} on", error.utf8_error().valid_up_to())))?;
    let is_text = task.path.extension().is_some_and(|extension| extension == "txt");
    let mut documents = match (task.kind, is_text) {
        (Kind::Wikitext, true) => wikitext::pages(&text).into_iter().map(page).collect(),
        _ => parse(&text).map_err(failed)?,
    };
    documents.truncate(limit.unwrap_or(usize::MAX));
    match documents.is_empty() {
        true => Err(failed("has no documents".to_string())),
        false => Ok(documents),
    }
}

fn page(text: String) -> Document {
    Document::from_iter([("page".to_string(), Value::String(text))])
}

fn parse(text: &str) -> Result<Vec<Document>, String> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|error| format!("is no list of JSON objects: {error}"));
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let document = |(at, line)| serde_json::from_str(line).map_err(|error| format!("line {}: {error}", at + 1));
    lines.map(document).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_named_with_their_files_or_by_them() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["piqa.jsonl", "mmlu_virology.json", "notes.txt"] {
            std::fs::write(folder.path().join(name), "[]").unwrap();
        }
        let names = |list: &str| -> Vec<(String, Kind)> {
            task_files(list).unwrap().into_iter().map(|file| (file.name, file.kind)).collect()
        };
        let directory = folder.path().to_str().unwrap();
        let expected = [("mmlu_virology".to_string(), Kind::Mmlu), ("piqa".to_string(), Kind::Piqa)];
        assert_eq!(names(directory), expected);
        assert_eq!(names(&format!("arc_easy=x.json,{directory}"))[0], ("arc_easy".to_string(), Kind::Arc));
        assert_eq!(names("there/winogrande.jsonl"), [("winogrande".to_string(), Kind::Winogrande)]);
        let refused = |list: &str| task_files(list).unwrap_err().to_string();
        assert!(refused("boolq=x.json").starts_with("boolq: is no known task"));
        assert!(refused(" ,").contains("names no task"));
    }

    #[test]
    fn documents_are_lines_or_a_list() {
        let ids = |text: &str| parse(text).map(|list| list.iter().map(|d| d["id"].as_u64()).collect::<Vec<_>>());
        assert_eq!(ids("{\"id\": 1}\n\n{\"id\": 2}\n"), Ok(vec![Some(1), Some(2)]));
        assert_eq!(ids(" [{\"id\": 1}, {\"id\": 2}]"), Ok(vec![Some(1), Some(2)]));
        assert!(ids("{\"id\": 1}\n{\"id\"").unwrap_err().starts_with("line 2: "));
        assert!(ids("[1]").is_err());
    }
}
