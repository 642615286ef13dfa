//! The book in `docs`: the reference of the programs' arguments, which `tcc` writes itself, and that every page and link is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::{Result, dist, read, root};

pub fn update() -> Result {
    manual("markdown", &folder().join("cli"))
}

/// Man pages and completions, for a folder of what is installed.
pub fn install(folder: &Path) -> Result {
    let share = folder.join("share");
    manual("man", &share.join("man/man1"))?;
    manual("completions", &share)
}

/// Has `tcc` write its manual, and tcrt's.
fn manual(form: &str, folder: &Path) -> Result {
    let folder = folder.to_str().ok_or_else(|| format!("{}: is no UTF-8", folder.display()))?;
    dist::cargo(&["run", "--release", "--bin", "tcc", "--", "manual", form, folder])
}

pub fn folder() -> PathBuf {
    root().join("docs")
}

/// The pages that `SUMMARY.md` names, in order.
pub fn chapters() -> Result<Vec<PathBuf>> {
    let summary = read(&folder().join("SUMMARY.md"))?;
    Ok(links(&summary).into_iter().map(|link| folder().join(link)).collect())
}

/// Where links of a page lead that are not the web's, as they are written.
pub fn links(page: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(page) {
        let targets =
            line.match_indices("](").filter_map(|(at, mark)| line[at + mark.len()..].split([')', ' ']).next());
        links.extend(targets.filter(|target| !target.contains("://")).map(String::from));
    }
    links
}

/// Lines outside code blocks.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// What a link of a page lacks, if anything.
pub fn broken(page: &Path, link: &str) -> Option<String> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => page.to_path_buf(),
        _ => page.parent().unwrap_or(page).join(path),
    };
    if !target.exists() {
        return Some(format!("{}: {link}: there is no such file", page.display()));
    }
    let there = anchor.is_empty() || anchors(&read(&target).ok()?).contains(anchor);
    (!there).then(|| format!("{}: {link}: there is no such heading", page.display()))
}

/// What headings are called in links, by GitHub's rule, which is mdBook's: letters, digits, `-` and `_` stay, blanks become `-`.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = prose(page).filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_headings_are_found() {
        let page = "# What `it` is, now\n[a](b.md#c) and [d](https://e) and [f](g.md)\n```\n[no](no.md)\n# no\n```\n";
        assert_eq!(links(page), ["b.md#c", "g.md"]);
        assert_eq!(anchors(page), BTreeSet::from(["what-it-is-now".to_string()]));
    }
}
