//! What programs built against a release depend on: the header's declarations, as `runtime/include/tcrt.abi` records them, one a
//! line. Declarations may be added, and structures and enumerations may grow at their end; nothing else may change.

use crate::{Result, header, include, read, write};

/// The header's declarations now.
pub fn current() -> Result<Vec<String>> {
    let text = header::declarations()?;
    let mut all: Vec<String> = text.split("\n\n").map(spaced).filter(|declaration| !declaration.is_empty()).collect();
    all.sort();
    Ok(all)
}

/// The names of the functions among them.
pub fn functions(declarations: &[String]) -> Vec<String> {
    let functions = declarations.iter().filter(|line| !line.starts_with("typedef") && !line.starts_with('#'));
    let before = functions.filter_map(|line| line.split_once('(').map(|(before, _)| before));
    let mut names: Vec<String> = before
        .filter_map(|text| text.rsplit([' ', '*']).next())
        .filter(|name| !name.is_empty())
        .map(String::from)
        .collect();
    names.sort();
    names
}

pub fn record() -> Result {
    let lines: String = current()?.into_iter().map(|line| line + "\n").collect();
    write(&include().join("tcrt.abi"), &lines)
}

/// That programs built against the recorded release still run.
pub fn check() -> Result {
    compare(&read(&include().join("tcrt.abi"))?, &current()?)
}

fn compare(recorded: &str, current: &[String]) -> Result {
    let broken: Vec<&str> = recorded.lines().filter(|line| !current.iter().any(|now| continues(line, now))).collect();
    match broken[..] {
        [] => Ok(()),
        _ => Err(format!(
            "the C ABI lost or changed what the last release had; if that is meant, raise TCRT_ABI_VERSION and run `cargo xtask abi`:\n{}",
            broken.join("\n")
        )),
    }
}

/// Whether a declaration is what it was, or has only grown at the end of its braces.
fn continues(before: &str, now: &str) -> bool {
    match before.rsplit_once('}') {
        Some((body, tail)) => {
            now.starts_with(body.trim_end()) && now.rsplit_once('}').is_some_and(|(_, end)| end == tail)
        }
        None => before == now,
    }
}

fn spaced(text: &str) -> String {
    // What only C23 is told of an enumeration's type changes nothing.
    let lines = text.lines().filter(|line| !line.starts_with("#if") && !line.starts_with("#endif"));
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: &str =
        "int32_t tcrt_a(struct tcrt_x *x);\ntypedef struct tcrt_x { uint32_t size; } tcrt_x;\n#define TCRT_ONE 1\n";

    fn now(change: (&str, &str)) -> Result {
        compare(RELEASE, &RELEASE.replace(change.0, change.1).lines().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn additions_pass_and_changes_do_not() {
        now(("", "")).unwrap();
        now(("size; }", "size; uint32_t more; }")).unwrap();
        now(("#define", "uint32_t tcrt_b(void);\n#define")).unwrap();
        for change in
            [("ONE 1", "ONE 2"), ("(struct tcrt_x *x)", "(void)"), ("uint32_t size;", ""), ("size; }", "bytes; }")]
        {
            assert!(now(change).unwrap_err().contains("tcrt_") || change.0 == "ONE 1");
        }
    }

    #[test]
    fn functions_are_found_by_name() {
        let lines: Vec<String> =
            RELEASE.lines().map(String::from).chain(["const char *tcrt_c(void);".into()]).collect();
        assert_eq!(functions(&lines), ["tcrt_a", "tcrt_c"]);
    }
}
