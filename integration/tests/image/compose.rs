//! `docker/compose.yaml`, and that what it joins fits together.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use mlh_integration::scenario::{repository, scenario};
use mlh_integration::sidecar::{run, text};
use serde_yaml::Value;

fn yaml(path: &str) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(repository().join(path)).with_context(|| path.to_owned())?;
    serde_yaml::from_str(&text).with_context(|| path.to_owned())
}

fn services() -> anyhow::Result<Vec<(String, Value)>> {
    let compose = yaml("docker/compose.yaml")?;
    let services = compose["services"].as_mapping().context("no services")?.clone();
    services
        .into_iter()
        .map(|(name, service)| Ok((name.as_str().context("a name")?.to_owned(), service)))
        .collect()
}

fn hunter() -> anyhow::Result<Value> {
    let found = services()?.into_iter().find(|(name, _)| name == "memory-leak-hunter");
    Ok(found.context("no sidecar")?.1)
}

/// The strings of a list; none where there is no list.
fn strings(value: &Value) -> Vec<String> {
    value.as_sequence().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// Guarantees: each file that is mounted exists, each named volume is declared and used, each image but our own has a
/// version, and no port is open to other machines.
#[test]
fn what_it_names_exists() {
    scenario(|_| {
        let declared = yaml("docker/compose.yaml")?["volumes"].as_mapping().context("no volumes")?.clone();
        let declared: BTreeSet<String> =
            declared.keys().filter_map(|name| name.as_str().map(str::to_owned)).collect();
        let mut used = BTreeSet::new();
        for (name, service) in services()? {
            for volume in strings(&service["volumes"]) {
                let (source, target) = volume.split_once(':').context("a volume without a target")?;
                if !source.starts_with('.') {
                    used.insert(source.to_owned());
                    continue;
                }
                ensure!(repository().join("docker").join(source).exists(), "{name}: {source} is not there");
                ensure!(target.ends_with(":ro"), "{name} may write {source}");
            }
            let image = service["image"].as_str().context("no image")?;
            let version = image.split_once(':').map(|(_, version)| version);
            let pinned = version.is_some_and(|version| {
                version.split('.').all(|part| part.trim_start_matches('v').parse::<u32>().is_ok())
            });
            ensure!(pinned || service.get("build").is_some(), "{name}: {image} is no certain version");
            for port in strings(&service["ports"]) {
                ensure!(port.starts_with("127.0.0.1:"), "{name}: {port} is open to other machines");
            }
        }
        ensure!(used == declared, "volumes: declared {declared:?}, used {used:?}");
        Ok(())
    });
}

/// Guarantees: the Collector of the stack is of the version that the end-to-end tests run.
#[test]
fn the_collector_is_the_one_that_is_tested() {
    scenario(|_| {
        let tested = std::fs::read_to_string(repository().join("integration/backends/otelcol/go.mod"))?;
        let tested = tested
            .lines()
            .find_map(|line| line.trim().strip_prefix("go.opentelemetry.io/collector/otelcol v"));
        let tested = tested.context("no version is tested")?;
        let (_, collector) = services()?.into_iter().find(|(name, _)| name == "collector").context("none")?;
        let image = collector["image"].as_str().context("no image")?;
        ensure!(
            image == format!("otel/opentelemetry-collector-contrib:{tested}"),
            "{image}, tested: {tested}"
        );
        Ok(())
    });
}

/// The hosts that a configuration speaks to, taken from `host:port` in its text.
fn hosts(path: &str) -> anyhow::Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(repository().join(path))?;
    let code = text.lines().map(|line| line.split(" #").next().unwrap_or_default());
    let words = code.filter(|line| !line.trim_start().starts_with('#')).flat_map(|line| {
        line.split(|c: char| c.is_whitespace() || "/[]{},\"'".contains(c))
            .map(|word| word.rsplit(":-").next())
    });
    let hosts = words.flatten().filter_map(|word| {
        let (host, port) = word.split_once(':')?;
        let named = host.starts_with(|c: char| c.is_ascii_lowercase()) && host != "localhost";
        (named && port.parse::<u16>().is_ok()).then(|| host.to_owned())
    });
    Ok(hosts.collect())
}

/// Guarantees: whom the configurations speak to is a service of the stack: the Collector to the log store, Prometheus to
/// sidecar and Collector, Grafana to both stores, the sidecar to the Collector.
#[test]
fn all_speak_to_services_of_the_stack() {
    scenario(|_| {
        let services: BTreeSet<String> = services()?.into_iter().map(|(name, _)| name).collect();
        let expected: [(&str, &[&str]); 4] = [
            ("otel-config/collector.yaml", &["loki"]),
            ("otel-config/prometheus/prometheus.yml", &["collector", "memory-leak-hunter"]),
            ("otel-config/sidecar.yaml", &["collector"]),
            ("docker/grafana/datasources.yaml", &["loki", "prometheus"]),
        ];
        for (path, peers) in expected {
            let hosts = hosts(path)?;
            let unknown: Vec<_> = hosts.difference(&services).collect();
            ensure!(unknown.is_empty(), "{path} speaks to {unknown:?}, which the stack lacks");
            let silent: Vec<_> = peers.iter().filter(|peer| !hosts.contains(**peer)).collect();
            ensure!(silent.is_empty(), "{path} does not speak to {silent:?}");
        }
        let endpoint = hunter()?["environment"]["OTLP_ENDPOINT"].clone();
        ensure!(endpoint == "collector:4317", "the sidecar sends to {endpoint:?}");
        Ok(())
    });
}

/// Guarantees: Grafana finds the dashboard where it is told to look, and has a data source of each kind that it asks for.
#[test]
fn grafana_has_what_the_dashboard_needs() {
    scenario(|_| {
        let (_, grafana) = services()?.into_iter().find(|(name, _)| name == "grafana").context("none")?;
        let path = yaml("docker/grafana/dashboards.yaml")?["providers"][0]["options"]["path"].clone();
        let path = path.as_str().context("no path")?;
        let mount = format!("../otel-config/grafana:{path}:ro");
        ensure!(strings(&grafana["volumes"]).contains(&mount), "{path} is not mounted");
        let sources = yaml("docker/grafana/datasources.yaml")?["datasources"].clone();
        let kinds: BTreeSet<String> = sources
            .as_sequence()
            .context("no sources")?
            .iter()
            .filter_map(|source| source["type"].as_str().map(str::to_owned))
            .collect();
        let dashboard =
            std::fs::read_to_string(repository().join("otel-config/grafana/memory-leak-hunter.json"))?;
        let dashboard: serde_json::Value = serde_json::from_str(&dashboard)?;
        ensure!(dashboard["uid"] == "memory-leak-hunter", "the address in README.md leads elsewhere");
        let variables = dashboard["templating"]["list"].as_array().context("no variables")?;
        let asked: BTreeSet<String> = variables
            .iter()
            .filter(|variable| variable["type"] == "datasource")
            .filter_map(|variable| variable["query"].as_str().map(str::to_owned))
            .collect();
        ensure!(asked == kinds, "asked for: {asked:?}, there are: {kinds:?}");
        Ok(())
    });
}

/// Guarantees: the sidecar of the stack has its two capabilities and no other, sees the host's processes, can write
/// nowhere, has time to drain, and accepts the arguments it is given.
#[test]
fn the_sidecar_runs_with_the_least() {
    scenario(|_| {
        let service = hunter()?;
        ensure!(strings(&service["cap_drop"]) == ["ALL"], "{service:?}");
        ensure!(strings(&service["cap_add"]) == ["BPF", "PERFMON"], "{service:?}");
        ensure!(service["pid"] == "host" && service["read_only"] == true, "{service:?}");
        ensure!(
            strings(&service["security_opt"]).contains(&"no-new-privileges:true".to_owned()),
            "{service:?}"
        );
        ensure!(service.get("privileged").is_none() && service.get("network_mode").is_none(), "{service:?}");
        let file = repository().join("otel-config/sidecar.yaml");
        let file = file.to_str().context("path")?;
        let command: Vec<String> = strings(&service["command"])
            .into_iter()
            .map(|word| if word == "/etc/memory-leak-hunter/sidecar.yaml" { file.to_owned() } else { word })
            .collect();
        ensure!(command.iter().any(|word| word == file), "it is not given its file: {command:?}");
        let mut arguments = vec!["validate"];
        arguments.extend(command.iter().map(String::as_str));
        let output = run(&arguments)?;
        ensure!(output.status.code() == Some(0), "{}", text(&output.stderr));
        Ok(())
    });
}
