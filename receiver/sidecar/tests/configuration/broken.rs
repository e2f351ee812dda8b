//! The corpus of broken configurations: `tests/broken/NAME.yaml`, and beside each `NAME.txt`, which holds what
//! `validate` has to say about it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;

use crate::{SECRET, ask, tests};

/// Fewer files than this mean that some were lost.
const FEWEST: usize = 90;

/// The names of the files with an extension.
fn names(extension: &str) -> BTreeSet<String> {
    fs::read_dir(tests().join("broken"))
        .expect("the folder of broken configurations")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension() == Some(OsStr::new(extension)))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// Guarantees: each broken configuration is refused with exit code 1, nothing on standard output, and on standard
/// error exactly the expected lines: every fault with its file, line, key, value and what is allowed, and no secret.
#[test]
fn each_is_refused_as_expected() {
    let folder = tests().join("broken");
    let mut failures = String::new();
    for name in names("yaml") {
        let answer = ask(&folder, &["validate", "--config", &format!("{name}.yaml")]);
        let expected = fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap_or_default();
        let as_expected = answer.code == Some(1)
            && answer.out.is_empty()
            && !answer.err.is_empty()
            && !answer.err.contains(SECRET)
            && answer.err.lines().eq(expected.lines());
        if !as_expected {
            failures += &format!(
                "{name}.yaml: exit code {:?}, standard output {:?}; said:\n{}expected by {name}.txt:\n{expected}\n",
                answer.code, answer.out, answer.err
            );
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// Guarantees: the corpus is whole: no configuration without its expectation, no expectation without its
/// configuration, and several that hold many faults at once.
#[test]
fn the_corpus_is_whole() {
    let configurations = names("yaml");
    assert_eq!(configurations, names("txt"));
    assert!(configurations.len() >= FEWEST, "{} are left", configurations.len());
    let faults = configurations.iter().map(|name| {
        let expected = fs::read_to_string(tests().join("broken").join(format!("{name}.txt"))).unwrap();
        expected.lines().count()
    });
    assert!(faults.filter(|faults| *faults >= 4).count() >= 4);
}
