//! The pictures of README and docs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use mlh_integration::scenario::{repository, scenario};

/// Nobody waits for a page of pictures.
const LARGEST: u64 = 300_000;

/// Guarantees: every picture that README and docs name is there, is one, says in words what it shows, and is small; every
/// picture that is there is named.
#[test]
fn pictures() {
    scenario(|_| {
        let root = repository().canonicalize()?;
        let mut named = BTreeSet::new();
        for page in pages(&root)? {
            let text = std::fs::read_to_string(&page)?;
            for (words, target) in text.split("![").skip(1).filter_map(image) {
                let place = page.parent().context("a folder")?.join(target);
                let what = format!("{target} in {}", page.display());
                let picture = std::fs::read(&place).with_context(|| what.clone())?;
                let is_picture = picture.starts_with(b"\x89PNG\r\n")
                    || picture.starts_with(b"<svg")
                    || picture.starts_with(b"<?xml");
                ensure!(is_picture && picture.len() as u64 <= LARGEST, "{what} has {} bytes", picture.len());
                ensure!(words.split_whitespace().count() >= 3, "{what} is not told in words: {words:?}");
                named.insert(place.canonicalize()?);
            }
        }
        ensure!(!named.is_empty(), "README has no picture");
        for entry in std::fs::read_dir(root.join("docs/pictures"))? {
            let path = entry?.path();
            ensure!(named.contains(&path), "no page has {}", path.display());
        }
        Ok(())
    });
}

/// README, and what is in docs.
fn pages(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut pages = vec![root.join("README.md")];
    for entry in std::fs::read_dir(root.join("docs"))? {
        let path = entry?.path();
        pages.extend(path.extension().is_some_and(|end| end == "md").then_some(path));
    }
    Ok(pages)
}

/// Words and target of `![words](target)`, from behind the first bracket; pictures of this repository alone.
fn image(text: &str) -> Option<(&str, &str)> {
    let (words, rest) = text.split_once("](")?;
    let target = rest.split(')').next()?;
    (!target.contains("://")).then_some((words, target))
}
