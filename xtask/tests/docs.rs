//! The book: every page is in its summary, and every link leads somewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use xtask::{docs, read, root};

fn pages_in(folder: &Path, pages: &mut BTreeSet<PathBuf>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages_in(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.insert(path);
        }
    }
}

fn pages() -> BTreeSet<PathBuf> {
    let mut pages = BTreeSet::new();
    pages_in(&docs::folder(), &mut pages);
    assert!(pages.remove(&docs::folder().join("SUMMARY.md")));
    pages
}

#[test]
fn the_summary_names_every_page_once() {
    let chapters = docs::chapters().unwrap();
    let named: BTreeSet<PathBuf> = chapters.iter().cloned().collect();
    assert_eq!(named.len(), chapters.len());
    assert_eq!(named, pages());
}

#[test]
fn links_lead_somewhere() {
    let readmes = ["README.md", "tests/README.md", "python/README.md"].map(|path| root().join(path));
    let readmes = readmes.into_iter().filter(|path| path.exists());
    let broken: Vec<String> = pages()
        .into_iter()
        .chain(readmes)
        .flat_map(|page| {
            let text = read(&page).unwrap();
            docs::links(&text).into_iter().filter_map(|link| docs::broken(&page, &link)).collect::<Vec<_>>()
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
