//! The programs that tell events: each an object of its own, so that one which a kernel refuses does not take the other with it.

use std::path::Path;

use libbpf_rs::{Link, MapCore as _, MapFlags, MapHandle, Object};
use zerocopy::IntoBytes as _;

use crate::error::SweepError;
use crate::events::{Crossings, Scope};
use crate::object::{self, Failure, failure, io_error};
use crate::wire::CrossingsConfig;
use crate::worker::Source;

static OOM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/oom.bpf.o"));
static RSS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rss.bpf.o"));

/// A loaded and attached program. Dropping it detaches it.
#[derive(Debug)]
pub(crate) struct Probe {
    /// Where its events come out.
    pub(crate) source: Option<Source>,
    /// The map of watched processes, where that matters.
    pub(crate) watched: Option<MapHandle>,
    _link: Link,
    _object: Object,
}

/// Tells OOM kills.
pub(crate) fn oom_kills(btf: Option<&Path>) -> Result<Probe, SweepError> {
    object::explained(btf, || {
        let object = object::load_met("mlh_oom", OOM, btf, &[], &["mark_victim"])?;
        if form(&object)?.is_blind() {
            let reason =
                "this kernel names the victim by its pid, and the way from there to the process is unknown";
            return Err(failure("finding victims", reason));
        }
        attach(object, "mark_victim")
    })
}

/// Tells growth, at the tracepoint that costs less if that can be had.
pub(crate) fn crossings(btf: Option<&Path>, wanted: Crossings) -> Result<Probe, SweepError> {
    crossings_at("rss_stat", btf, wanted).or_else(|first| {
        crossings_at("rss_stat_classic", btf, wanted).map_err(|second| {
            io_error("listening for growth", &format!("{first}; and at the classic tracepoint: {second}"))
        })
    })
}

fn crossings_at(program: &'static str, btf: Option<&Path>, wanted: Crossings) -> Result<Probe, SweepError> {
    let watched_only = wanted.scope == Scope::Watched;
    let config = CrossingsConfig {
        threshold: wanted.threshold_pages.max(1),
        watched_only: watched_only.into(),
        reserved: 0,
    };
    object::explained(btf, || {
        let constants = [(".rodata.crossings", config.as_bytes())];
        let object = object::load_met("mlh_rss", RSS, btf, &constants, &[program])?;
        let watched = watched_only.then(|| object::handle(&object, "watched")).transpose()?;
        Ok(Probe { watched, ..attach(object, program)? })
    })
}

fn attach(object: Object, program: &'static str) -> Result<Probe, Failure> {
    let link = object::program(&object, program)?.attach().map_err(|error| ("attaching to events", error))?;
    Ok(Probe { source: Some(object::source(&object)?), watched: None, _link: link, _object: object })
}

/// How victims are named, as `form` in `c/oom.bpf.c` says.
#[derive(Debug)]
struct Form {
    by_pid: bool,
    lookup_works: bool,
}

impl Form {
    fn is_blind(&self) -> bool {
        self.by_pid && !self.lookup_works
    }
}

fn form(object: &Object) -> Result<Form, Failure> {
    let doing = |error| ("reading how victims are named", error);
    let map = object::handle(object, ".data.form")?;
    let value = map.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY).map_err(doing)?.unwrap_or_default();
    let is_set = |at: usize| value.get(at..at + 4).is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0));
    Ok(Form { by_pid: is_set(0), lookup_works: is_set(4) })
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use nix::poll::PollTimeout;

    use super::*;
    use crate::events::Told;
    use crate::records::{Row, rows};
    use crate::worker::Worker;

    fn skip(reason: &str) {
        assert!(std::env::var_os("MLH_REQUIRE_EBPF").is_none_or(|value| value != "1"), "{reason}");
        eprintln!("SKIPPED: {reason}");
    }

    /// Guarantees: on this kernel the way from a pid to its task is known, whether or not victims are named so: the program that
    /// needs it was tried on a process that it had at hand.
    /// Needs: eBPF.
    #[test]
    fn a_task_is_found_by_its_pid() {
        match object::explained(None, || {
            form(&object::load_met("mlh_oom", OOM, None, &[], &["mark_victim"])?)
        }) {
            Ok(form) => assert!(form.lookup_works, "{form:?}"),
            Err(error) => skip(&error.to_string()),
        }
    }

    /// Guarantees: only a kernel that names victims by pid needs the lookup.
    #[test]
    fn a_kernel_that_gives_the_task_is_not_blind() {
        let blind = |by_pid, lookup_works| Form { by_pid, lookup_works }.is_blind();
        assert!(blind(true, false));
        assert!(!blind(true, true) && !blind(false, false) && !blind(false, true));
    }

    /// Guarantees: at the classic tracepoint, too, growth is told: this process's own.
    /// Needs: eBPF, root, unshare, tracefs.
    #[test]
    fn the_classic_tracepoint_tells_growth() {
        // with tracefs mounted, where only this test sees it
        if std::env::var_os("MLH_TEST_TRACEFS").is_none() {
            let script = r#"mount -t tracefs none /sys/kernel/tracing || exit 77
                exec "$0" --exact probe::tests::the_classic_tracepoint_tells_growth"#;
            let output = Command::new("unshare")
                .args(["--mount", "sh", "-c", script])
                .arg(std::env::current_exe().unwrap())
                .env("MLH_TEST_TRACEFS", "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            if !output.status.success() && !said.contains("running 1 test") {
                return skip(&said);
            }
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let wanted = Crossings { threshold_pages: 256, scope: Scope::Watched };
        let mut probe = crossings_at("rss_stat_classic", None, wanted).unwrap();
        let own = std::process::id();
        let watched = probe.watched.take().unwrap();
        watched.update(&own.to_ne_bytes(), &[1], MapFlags::ANY).unwrap();
        let (sender, receiver) = channel();
        let _worker =
            Worker::start(probe.source.take().into_iter().collect(), PollTimeout::NONE, move |told| {
                if let Told::Record(bytes) = told
                    && let Some(Ok(Row::Crossing(event))) = rows(bytes).next()
                {
                    let _ = sender.send(event.process);
                }
            });
        for _ in 0..2 {
            std::hint::black_box(vec![1_u8; 16 << 20]);
        }
        let process = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!((process.pid, process.host_pid), (own, own));
    }
}
