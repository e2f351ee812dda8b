use super::build::Build;
use super::layout::Layout;

fn told(version: &str) -> Vec<u8> {
    let mut bytes = b"\xff Go buildinf:\x08\x02".to_vec();
    bytes.resize(32, 0);
    bytes.push(u8::try_from(version.len()).unwrap());
    bytes.extend(version.bytes());
    bytes.extend([1, b'x']);
    bytes
}

/// Guarantees: the version is read as programs tell it, of releases, candidates, experiments and development, and of nothing else.
#[test]
fn versions() {
    let minor = |version: &str| Build::parse(&told(version)).map(|build| build.minor);
    for version in ["go1.21", "go1.21.13", "go1.21rc2", "go1.21.3 X:nocoverageredesign", "devel go1.21-f00"] {
        assert_eq!(minor(version), Some(21), "{version}");
    }
    assert_eq!(minor("go1.999"), None);
    assert_eq!(minor("go2.1"), None);
    let mut bytes = told("go1.21");
    bytes.truncate(36);
    assert_eq!(Build::parse(&bytes), None, "it ends within the version");
    let mut bytes = told("go1.21");
    bytes[15] = 0;
    assert_eq!(Build::parse(&bytes), None, "the version stands elsewhere");
    bytes[0] = 0;
    assert_eq!(Build::parse(&bytes), None);
}

/// Guarantees: there are layouts of the versions that are said to be known, and of no others.
#[test]
fn layouts() {
    let known: Vec<u8> = (0..=255).filter(|minor| Layout::of(*minor).is_some()).collect();
    assert_eq!(known, [20, 21, 22, 23, 24, 25, 26]);
}
