//! What programs built against a release depend on: the header's declarations, as `runtime/include/abi` records them for each
//! release, one a line. Declarations may be added, and structures and enumerations may grow at their end; nothing else may
//! change while `TCRT_ABI_VERSION`, by whose number the releases' begin, stays what it is.

use std::path::PathBuf;

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

/// Records the declarations as those of a release, which never change afterwards.
pub fn record(release: &str) -> Result {
    let (current, major) = (current()?, release.split('.').next().unwrap_or_default());
    if !is_release_of(release, &version(&current)?) {
        return Err(format!("release {release}: must be {major}.N, as TCRT_ABI_VERSION says"));
    }
    let path = folder().join(format!("{release}.abi"));
    if path.exists() {
        return Err(format!("{}: a release's declarations do not change", path.display()));
    }
    write(&path, &current.into_iter().map(|line| line + "\n").collect::<String>())
}

/// That programs built against any release of this ABI version still run.
pub fn check() -> Result {
    let current = current()?;
    let releases = releases(&version(&current)?)?;
    if releases.is_empty() {
        return Err(format!("{}: no release of this ABI version", folder().display()));
    }
    releases.iter().try_for_each(|release| {
        compare(&read(release)?, &current).map_err(|broken| format!("{}: {broken}", release.display()))
    })
}

fn folder() -> PathBuf {
    include().join("abi")
}

/// The recorded declarations of every release of an ABI version.
pub fn releases(version: &str) -> Result<Vec<PathBuf>> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", folder().display());
    let entries = folder().read_dir().map_err(unreadable)?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry.map_err(unreadable)?.path())).collect::<Result<_>>()?;
    paths.retain(|path| {
        let release = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".abi"));
        release.is_some_and(|release| is_release_of(release, version))
    });
    paths.sort();
    Ok(paths)
}

/// `1.0` is a release of ABI version 1.
fn is_release_of(release: &str, version: &str) -> bool {
    release.split_once('.').is_some_and(|(major, minor)| major == version && minor.parse::<u32>().is_ok())
}

/// What `TCRT_ABI_VERSION` is.
pub fn version(declarations: &[String]) -> Result<String> {
    let version = declarations.iter().find_map(|line| line.strip_prefix("#define TCRT_ABI_VERSION "));
    version.map(String::from).ok_or_else(|| "the header has no TCRT_ABI_VERSION".to_string())
}

/// That `current` has whatever a release had.
pub fn compare(release: &str, current: &[String]) -> Result {
    let broken: Vec<&str> = release.lines().filter(|line| !current.iter().any(|now| continues(line, now))).collect();
    match broken[..] {
        [] => Ok(()),
        _ => Err(format!(
            "the C ABI lost or changed what this release had; if that is meant, raise TCRT_ABI_VERSION:\n{}",
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
