//! The commands that end by themselves.

use anyhow::{Context as _, ensure};
use mlh_integration::scenario::scenario;
use mlh_integration::sidecar::{run, text};
use serde_json::Value;

const SECRET: &str = "hunter2-is-not-for-your-eyes";

fn sound() -> String {
    format!(
        "receivers: {{memory_leak_hunter: {{}}}}
exporters: {{otlp_grpc: {{endpoint: 'collector:4317', headers: {{authorization: '{SECRET}'}}}}}}
service: {{pipelines: {{logs: {{receivers: [memory_leak_hunter], exporters: [otlp_grpc]}}}}}}
"
    )
}

/// Guarantees: `--version` names the program and its version on standard output and exits 0.
#[test]
fn version() {
    scenario(|_| {
        let output = run(&["--version"])?;
        ensure!(output.status.code() == Some(0));
        let expected = format!("memory-leak-hunter {}", env!("CARGO_PKG_VERSION"));
        ensure!(text(&output.stdout).starts_with(&expected), "{}", text(&output.stdout));
        Ok(())
    });
}

/// Guarantees: `components` lists every component of this version by kind.
#[test]
fn components() {
    scenario(|_| {
        let output = run(&["components"])?;
        ensure!(output.status.code() == Some(0), "{}", text(&output.stderr));
        let listed = text(&output.stdout);
        for word in [
            "receivers",
            "processors",
            "exporters",
            "extensions",
            "memory_leak_hunter",
            "memory_limiter",
            "batch",
            "resource",
            "otlp_grpc",
            "prometheus",
            "debug",
            "file",
            "health_check",
            "control",
        ] {
            ensure!(listed.contains(word), "{word} is not listed:\n{listed}");
        }
        Ok(())
    });
}

/// Guarantees: `print-config` shows what will run, defaults included, and never a secret, on either output.
#[test]
fn print_config_masks_secrets() {
    scenario(|world| {
        let config = world.write("sidecar.yaml", &sound())?;
        let config = config.to_str().context("path")?;
        let output = run(&["print-config", "--config", config])?;
        ensure!(output.status.code() == Some(0), "{}", text(&output.stderr));
        let shown = text(&output.stdout);
        for word in
            ["collector:4317", "[REDACTED]", "rss_growth_threshold", "rss_check_interval", "retry_on_failure"]
        {
            ensure!(shown.contains(word), "{word} is not shown:\n{shown}");
        }
        ensure!(!(shown + &text(&output.stderr)).contains(SECRET), "the secret is shown");
        Ok(())
    });
}

/// Guarantees: `--set` changes one value of what would run.
#[test]
fn set_changes_one_value() {
    scenario(|world| {
        let config = world.write("sidecar.yaml", &sound())?;
        let config = config.to_str().context("path")?;
        let set = "receivers::memory_leak_hunter::rss_growth_threshold=4711";
        let output = run(&["print-config", "--config", config, "--set", set])?;
        ensure!(output.status.code() == Some(0), "{}", text(&output.stderr));
        ensure!(text(&output.stdout).contains("rss_growth_threshold: 4711"), "{}", text(&output.stdout));
        Ok(())
    });
}

/// Guarantees: `validate` is silent about a sound file and exits 0; of a broken one it tells every fault with line,
/// key, value and what is allowed, shows no secret, and exits 1.
#[test]
fn validate_tells_every_fault() {
    scenario(|world| {
        let good = world.write("good.yaml", &sound())?;
        let output = run(&["validate", "--config", good.to_str().context("path")?])?;
        ensure!(output.status.code() == Some(0), "{}", text(&output.stderr));

        let broken = sound().replace(
            "memory_leak_hunter: {}",
            "memory_leak_hunter: {mode: gentle, rss_check_intervall: 30s}",
        );
        let bad = world.write("bad.yaml", &broken)?;
        let output = run(&["validate", "--config", bad.to_str().context("path")?])?;
        ensure!(output.status.code() == Some(1), "{:?}", output.status);
        let told = text(&output.stderr) + &text(&output.stdout);
        for part in [
            "bad.yaml:1",
            "receivers::memory_leak_hunter::mode",
            "gentle",
            "growth_detection",
            "rss_check_intervall",
            "unknown key",
            "rss_check_interval",
        ] {
            ensure!(told.contains(part), "`{part}` is not told:\n{told}");
        }
        ensure!(!told.contains(SECRET), "the secret is told");
        Ok(())
    });
}

/// Guarantees: a flag or command that does not exist, and a configuration that was asked for and is not there, are
/// refused with exit code 1; nothing starts.
#[test]
fn usage_errors_exit_1() {
    scenario(|world| {
        let absent = world.path("absent.yaml");
        let absent = absent.to_str().context("path")?;
        for arguments in [
            &["--no-such-flag"][..],
            &["no-such-command"],
            &["--config", absent],
            &["validate", "--config", absent],
        ] {
            let output = run(arguments)?;
            ensure!(output.status.code() == Some(1), "{arguments:?}: {:?}", output.status);
            ensure!(!output.stderr.is_empty(), "{arguments:?}: no reason given");
        }
        Ok(())
    });
}

/// Guarantees: what `record` writes on this host is a trace in the promised format, `replay` reads it and prints one
/// event a line, and `--anonymize` leaves no program's name in it.
#[test]
fn record_then_replay() {
    scenario(|world| {
        let _target = world.target("target-idle", &["--mib", "8"])?;
        for (name, more) in [("plain.trace", &[][..]), ("anonymous.trace", &["--anonymize"])] {
            let path = world.path(name);
            let path = path.to_str().context("path")?;
            let output = run(&[&["record", path, "--duration", "5s"], more].concat())?;
            ensure!(output.status.code() == Some(0), "{}", text(&output.stderr));
            let trace = std::fs::read_to_string(path)?;
            let first: Value = serde_json::from_str(trace.lines().next().context("an empty trace")?)?;
            ensure!(first["kind"] == "host" && first["schema"] == 1, "the first line: {first}");
            ensure!(trace.lines().any(|line| line.contains("\"process\"")), "no process in the trace");
            ensure!(trace.contains("target-idle") == more.is_empty(), "names in {name}");
            let output = run(&["replay", path])?;
            ensure!(output.status.code() == Some(0), "{}", text(&output.stderr));
            for line in text(&output.stdout).lines() {
                serde_json::from_str::<Value>(line).with_context(|| line.to_owned())?;
            }
        }
        Ok(())
    });
}

/// Guarantees: `replay` finds a leak in a trace made by hand, says the same each time, and takes no longer than the
/// trace is long.
#[test]
fn replay_finds_a_leak() {
    scenario(|world| {
        let mut trace =
            r#"{"kind":"host","schema":1,"t":0,"epoch":1764032400.0,"boot_id":"b","page_size":4096,"mem_total":25000000000}"#
                .to_owned();
        for second in (0..1800).step_by(5) {
            let anon = 50_000_000 + second * 40_000;
            trace += &format!(
                "\n{{\"kind\":\"process\",\"t\":{second},\"pid\":101,\"start\":12.5,\"comm\":\"api-server\",\"exe\":\
                 \"/usr/bin/api-server\",\"cgroup_id\":7,\"anon\":{anon},\"file\":1000000,\"shmem\":0,\"swap\":0}}"
            );
        }
        let path = world.write("leak.trace", &(trace + "\n"))?;
        let path = path.to_str().context("path")?;
        let events = || -> anyhow::Result<Vec<Value>> {
            let output = run(&["replay", path, "-o", "event"])?;
            ensure!(output.status.code() == Some(0), "{}", text(&output.stderr));
            text(&output.stdout).lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
        };
        let first = events()?;
        let verdicts: Vec<_> = first
            .iter()
            .filter(|event| event["event_data"]["kernel"]["event_type"] == "leak_detected")
            .collect();
        ensure!(verdicts.len() == 1, "{} verdicts: {first:?}", verdicts.len());
        ensure!(verdicts[0]["event_data"]["kernel"]["pid"] == 101);
        let ids = |events: &[Value]| events.iter().map(|event| event["event_id"].clone()).collect::<Vec<_>>();
        ensure!(ids(&first) == ids(&events()?), "a second replay says something else");
        let output = run(&["replay", path, "-o", "text"])?;
        ensure!(text(&output.stdout).contains("api-server"), "{}", text(&output.stdout));
        Ok(())
    });
}
