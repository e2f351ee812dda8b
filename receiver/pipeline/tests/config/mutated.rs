//! Sound configurations, damaged at random. The seed is fixed: a failure repeats.

use serde_yaml::Value;

use crate::fakes::SOUND;
use crate::load;

const RICH: &str = "\
receivers:
  source:
    mode: targeted
    pid: 12
    interval: 1m30s   # a comment
    size: 10KiB
    factor: 0.25
    endpoint: \"[::1]:9464\"
    include: {names: [a, 'b', \"c\"]}
    rules:
      - {name: one, weight: 2}
      - name: two
exporters:
  sink:
    labels:
      a: |
        block
      b: a${env:FIVE}
    tls: {insecure: true}
service:
  telemetry: {logs: {level: warn}}
  pipelines:
    logs: {receivers: [source], exporters: [sink]}
    metrics/x: {receivers: [source], exporters: [sink]}
";

const PIECES: &[&str] = &[
    "\n",
    "  ",
    "\t",
    ":",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\"",
    "'",
    "#",
    "&a",
    "*a",
    "!!",
    "<<",
    "|",
    ">",
    "---\n",
    "...\n",
    "%",
    "@",
    "${env:",
    "${env:FIVE}",
    "$$",
    "}",
    "~",
    "null",
    "0x",
    "1e999",
    "-",
    "\0",
    "\u{1b}",
    "\u{feff}",
    "é",
    "\u{1f4a9}",
    "? ",
    "receivers",
    "source",
    "rate: 1\n",
];

/// A dollar sign that was expanded once must not be expanded again; keys never are.
fn as_source(value: Value) -> Value {
    match value {
        Value::String(text) => text.replace('$', "$$").into(),
        Value::Sequence(items) => items.into_iter().map(as_source).collect(),
        Value::Mapping(pairs) => {
            Value::Mapping(pairs.into_iter().map(|(key, value)| (key, as_source(value))).collect())
        }
        other => other,
    }
}

/// Guarantees: no text makes the loader panic or fall silent: it yields a configuration whose effective form
/// loads again as the same one, or faults whose lines hold no control character.
#[test]
fn never_panics() {
    for text in [RICH, SOUND] {
        assert!(load(&[&format!("yaml:{text}")], &[]).is_ok());
    }
    let mut random = fastrand::Rng::with_seed(3);
    let mut sound = 0;
    for round in 0..6000 {
        let mut text: Vec<char> = if round % 2 == 0 { RICH } else { SOUND }.chars().collect();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..text.len());
            let end = (at + random.usize(..12)).min(text.len());
            match random.u8(..4) {
                0 => drop(text.drain(at..end)),
                1 => drop(text.splice(at..at, PIECES[random.usize(..PIECES.len())].chars())),
                2 => drop(text.splice(at..end, PIECES[random.usize(..PIECES.len())].chars())),
                _ => {
                    let piece: Vec<char> = text[at..end].to_vec();
                    let to = random.usize(..text.len());
                    drop(text.splice(to..to, piece));
                }
            }
        }
        let text: String = text.into_iter().collect();
        match load(&[&format!("yaml:{text}")], &[]) {
            Ok(loaded) => {
                sound += 1;
                let again = serde_yaml::to_string(&as_source(loaded.effective.clone())).unwrap();
                match load(&[&format!("yaml:{again}")], &[]) {
                    Ok(reloaded) => assert_eq!(reloaded.effective, loaded.effective, "for:\n{text}"),
                    Err(problems) => panic!("{problems}\nof the effective:\n{again}\nfor:\n{text}"),
                }
            }
            Err(problems) => {
                let lines = problems.to_string();
                assert!(!lines.is_empty(), "for:\n{text}");
                assert!(!lines.contains(|c: char| c.is_control() && c != '\n'), "{lines:?}\nfor:\n{text}");
            }
        }
    }
    // Else the half of the guarantee that concerns sound texts would be untried.
    assert!(sound > 100, "{sound}");
}
