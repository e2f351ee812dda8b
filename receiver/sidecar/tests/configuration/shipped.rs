//! The configurations that users are given: `otel-config/sidecar.yaml`, and those in the documentation.

use std::fs;

use serde_yaml::Value;

use crate::{ask, effective, parse, repository, tests};

const SIDECAR: &str = "sidecar.yaml";

/// Guarantees: a value that nobody sets has its documented default, in every component: `defaults.yaml` holds all
/// keys there are.
#[test]
fn defaults() {
    let folder = tests().join("configuration");
    let documented = parse(&fs::read_to_string(folder.join("defaults.yaml")).unwrap());
    assert_eq!(effective(&folder, "nothing-set.yaml"), documented);
}

/// Guarantees: `sidecar.yaml` is sound, without a warning.
#[test]
fn sidecar_file_is_sound() {
    let answer = ask(&repository().join("otel-config"), &["validate", "--config", SIDECAR]);
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""));
    assert_eq!(answer.out, "the configuration is valid\n");
}

/// Guarantees: the specification's own examples are sound as they stand, and say what they mean.
#[test]
fn the_specification_is_understood() {
    let folder = tests().join("configuration");
    let receiver = |file| effective(&folder, file)["receivers"]["memory_leak_hunter"].clone();
    let basic = receiver("specification-basic.yaml");
    assert_eq!((&basic["mode"], &basic["sampling_rate"]), (&"growth_detection".into(), &10.into()));
    let targeted = receiver("specification-targeted.yaml");
    assert_eq!((&targeted["mode"], &targeted["target_pid"]), (&"targeted".into(), &12345.into()));
    assert_eq!(targeted["min_allocation_size"], "1KiB");
    assert_eq!(targeted["target_duration"], "5m");
}

/// Guarantees: the values in `sidecar.yaml` are the defaults, as its first line says, but for those that its
/// comments explain.
#[test]
fn sidecar_file_holds_the_defaults() {
    const EXPLAINED: [&str; 2] = ["exporters.otlp_grpc.endpoint", "exporters.otlp_grpc.tls.insecure"];
    let ours = effective(&repository().join("otel-config"), SIDECAR);
    let defaults = parse(&fs::read_to_string(tests().join("configuration/defaults.yaml")).unwrap());
    let mut different = Vec::new();
    for section in ["receivers", "processors", "exporters", "extensions"] {
        differences(section, &ours[section], &defaults[section], &mut different);
    }
    differences(
        "telemetry",
        &ours["service"]["telemetry"],
        &defaults["service"]["telemetry"],
        &mut different,
    );
    assert_eq!(different, EXPLAINED);
}

/// Guarantees: `sidecar.yaml` names every key of the receiver, so that it documents them.
#[test]
fn sidecar_file_names_every_key_of_the_receiver() {
    let folder = repository().join("otel-config");
    let written = parse(&fs::read_to_string(folder.join(SIDECAR)).unwrap());
    let shown = effective(&folder, SIDECAR);
    let keys = |value: &Value| {
        let keys = value["receivers"]["memory_leak_hunter"].as_mapping().unwrap().keys().cloned();
        let mut keys: Vec<_> = keys.map(|key| key.as_str().unwrap().to_owned()).collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&written), keys(&shown));
}

/// The paths of the values of `ours` that are not the same in `theirs`.
fn differences(path: &str, ours: &Value, theirs: &Value, different: &mut Vec<String>) {
    match ours {
        Value::Mapping(pairs) => {
            for (key, value) in pairs {
                differences(&format!("{path}.{}", key.as_str().unwrap()), value, &theirs[key], different);
            }
        }
        _ if ours == theirs => {}
        _ => different.push(path.to_owned()),
    }
}

/// Guarantees: every configuration of the sidecar that the documentation shows is sound, without a warning. Where the
/// build has no TLS, one that asks for it is refused for that alone.
#[test]
fn documented_configurations_are_sound() {
    let folder = tempfile::tempdir().unwrap();
    let mut tried = 0;
    for document in ["README.md", "otel-config/README.md"] {
        let text = fs::read_to_string(repository().join(document)).expect(document);
        for (line, block) in blocks(&text).into_iter().filter(|(_, block)| is_ours(block)) {
            fs::write(folder.path().join("block.yaml"), &block).unwrap();
            let answer = ask(folder.path(), &["validate", "--config", "block.yaml"]);
            if cfg!(not(feature = "tls")) && block.contains("https://") {
                assert!(answer.err.contains("needs TLS, which this build does not have"), "{}", answer.err);
            } else {
                assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""), "{document}:{line}:\n{block}");
            }
            tried += 1;
        }
    }
    assert!(tried >= 2, "{tried} were found");
}

/// The texts fenced as YAML, each with the line it begins on.
fn blocks(document: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in document.lines().enumerate() {
        match &mut open {
            None if line.trim() == "```yaml" => open = Some((index + 2, String::new())),
            None => {}
            Some(_) if line.trim() == "```" => blocks.extend(open.take()),
            Some((_, block)) => *block += &format!("{line}\n"),
        }
    }
    assert!(open.is_none(), "a block without an end");
    blocks
}

/// Whether a text is for the sidecar: whole, or the receiver's block alone.
fn is_ours(block: &str) -> bool {
    let root = parse(block);
    let has =
        |value: &Value| value.as_mapping().is_some_and(|block| block.contains_key("memory_leak_hunter"));
    has(&root) || has(&root["receivers"])
}

/// Guarantees: blocks are found wherever they stand, and ours are told from others.
#[test]
fn blocks_are_found() {
    let document = "a\n```yaml\nreceivers:\n  memory_leak_hunter:\n```\n```promql\nx\n```\n  ```yaml\n- a\n  ```\n\
                    ```yaml\nmemory_leak_hunter: {}\n```\n```yaml\nreceivers: {otlp: }\n```\n";
    let found = blocks(document);
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 10, 13, 16]);
    assert_eq!(found.iter().map(|(_, block)| is_ours(block)).collect::<Vec<_>>(), [true, false, true, false]);
}
