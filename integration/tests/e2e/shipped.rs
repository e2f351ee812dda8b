//! The configuration files that users are given.

use std::process::Command;

use anyhow::{Context as _, ensure};
use mlh_integration::backends;
use mlh_integration::scenario::{repository, scenario};
use mlh_integration::sidecar::{run, text};

/// Guarantees: the sidecar accepts the `sidecar.yaml` that we ship, without a warning.
#[test]
fn our_sidecar_file_is_sound() {
    scenario(|_| {
        let file = repository().join("otel-config/sidecar.yaml");
        let output = run(&["validate", "--config", file.to_str().context("path")?])?;
        ensure!(output.status.code() == Some(0), "{}", text(&output.stderr));
        ensure!(!text(&output.stderr).contains("WARN"), "{}", text(&output.stderr));
        Ok(())
    });
}

/// Guarantees: the upstream Collector accepts the `collector.yaml` that we ship.
/// Needs: the test servers.
#[test]
fn our_collector_file_is_sound() {
    scenario(|_| {
        let file = repository().join("otel-config/collector.yaml");
        ensure!(file.is_file(), "{} is not there", file.display());
        let output = Command::new(backends::folder()?.join("otelcol-e2e"))
            .arg("validate")
            .arg(format!("--config={}", file.display()))
            .output()?;
        ensure!(output.status.success(), "{}", text(&output.stderr));
        Ok(())
    });
}
