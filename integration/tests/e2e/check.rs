//! The `check` command.

use anyhow::ensure;
use mlh_integration::need;
use mlh_integration::scenario::scenario;
use mlh_integration::sidecar::{run, text};

/// Guarantees: where everything is allowed, `check` names the kernel, BTF, the two capabilities and the cgroup
/// layout, and exits 0.
/// Needs: root, eBPF.
#[test]
fn as_root_growth_detection_can_run() {
    scenario(|_| {
        need::ebpf()?;
        let output = run(&["check"])?;
        let told = text(&output.stdout);
        ensure!(output.status.code() == Some(0), "{told}{}", text(&output.stderr));
        for word in ["kernel", "BTF", "CAP_BPF", "CAP_PERFMON", "cgroup"] {
            ensure!(told.to_lowercase().contains(&word.to_lowercase()), "{word} is not mentioned:\n{told}");
        }
        Ok(())
    });
}
