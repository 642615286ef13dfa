//! Each `.ir` file: `// pass: NAME`, a graph, `// becomes`, the graph after the pass. With `TCC_BLESS=1` the second graph is written
//! anew instead of compared.

use std::fs;
use std::path::{Path, PathBuf};

use tc_ir::{Graph, parse, verify};
use tcc_core::passes;

const BECOMES: &str = "// becomes\n";

#[test]
fn passes_give_exactly_this() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/passes");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "ir"));
    files.sort();
    let failures: Vec<String> = files.iter().filter_map(|file| check(file).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    for pass in passes::PASSES {
        let header = format!("// pass: {}\n", pass.name);
        assert!(files.iter().any(|file| fs::read_to_string(file).unwrap().starts_with(&header)), "no {header}");
    }
}

fn check(file: &Path) -> Result<(), String> {
    let blame = |message: String| format!("{}: {message}", file.display());
    let text = fs::read_to_string(file).map_err(|error| blame(error.to_string()))?;
    let name = text.lines().next().and_then(|line| line.strip_prefix("// pass: "));
    let pass = name.and_then(passes::find).ok_or_else(|| blame("the first line names no pass".to_string()))?;
    let (before, after) = text.split_once(BECOMES).unwrap_or((&text, ""));
    let found = (pass.run)(&valid(before).map_err(blame)?).to_string();
    verify(&parse(&found).unwrap()).map_err(|error| blame(error.to_string()))?;
    if std::env::var_os("TCC_BLESS").is_some() {
        return fs::write(file, format!("{before}{BECOMES}{found}")).map_err(|error| blame(error.to_string()));
    }
    if found == after { Ok(()) } else { Err(blame(format!("found (TCC_BLESS=1 accepts it)\n{found}"))) }
}

fn valid(text: &str) -> Result<Graph, String> {
    let graph = parse(text).map_err(|error| error.to_string())?;
    verify(&graph).map_err(|error| error.to_string())?;
    Ok(graph)
}
