//! When what is known is written: soon after it has changed, and at the end.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Leaks, Store};
use crate::metrics::{Metrics, stage};

/// Changes come together: so long passes between two times that the file is written.
const REST: Duration = Duration::from_secs(1);

/// Writes until it is told to stop, and then once more.
pub(crate) async fn keep(leaks: Arc<Leaks>, store: Store, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut changes = leaks.changes();
    // what has come between the opening and now
    changes.mark_changed();
    let mut told = Told::default();
    let mut kept = None;
    loop {
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            // whoever changes it is alive as long as it is
            _ = changes.changed() => false,
        };
        let revision = *changes.borrow_and_update();
        if kept != Some(revision) {
            let (known, writer) = (leaks.snapshot(), store.clone());
            let saved = tokio::task::spawn_blocking(move || writer.save(&known)).await;
            match saved.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
                Ok(left) => {
                    kept = Some(revision);
                    told.kept(left);
                }
                Err(error) => {
                    metrics.errors(stage::STATE, 1);
                    told.failed(&error);
                }
            }
        }
        if ended {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(REST) => {}
        }
    }
}

/// What was said: what stays as it is is said once.
#[derive(Default)]
struct Told {
    failing: bool,
    full: bool,
}

impl Told {
    fn kept(&mut self, left: usize) {
        self.failing = false;
        let full = left > 0;
        if full && !self.full {
            tracing::warn!(left, "the oldest leaks have no room in the state file; raise state::max_size");
        }
        self.full = full;
    }

    fn failed(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "what is known of leaks could not be kept; it is tried again at the next change");
        }
    }
}

#[cfg(test)]
mod tests {
    use mlh_detect::leaks::{Program, Sighting};
    use mlh_detect::{About, ProcessKey};

    use super::*;
    use crate::records::HostIdentity;

    fn sighted(leaks: &Leaks, pid: u32) {
        let key = ProcessKey { pid, start_ns: 1 };
        let sighting = Sighting {
            at: Duration::from_secs(u64::from(pid)),
            about: About::Process(key),
            process: Some(key),
            container: None,
            started: None,
            program: Program { build_id: None, executable: "api", command: "api", service: None },
            place: None,
            velocity: 1.0,
            bytes: 1,
        };
        let mut registry = leaks.registry();
        registry.sighted(&sighting);
        leaks.tell(&registry);
    }

    fn occurrences(store: &Store) -> u64 {
        let read = Leaks::default();
        read.open(store).unwrap();
        read.messages().first().map_or(0, |leak| leak.occurrences)
    }

    /// Guarantees: a change is written while the sidecar runs, the last one at its end; what cannot be written is a counted
    /// error, is tried again, and stops nobody.
    #[tokio::test]
    async fn changes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept/state");
        let store = Store::new(path.clone(), 1 << 20, None);
        let (leaks, stop) = (Arc::<Leaks>::default(), CancellationToken::new());
        leaks.open(&store).unwrap();
        let metrics = Arc::new(Metrics::new(&HostIdentity::default()));
        let keeper = keep(Arc::clone(&leaks), store.clone(), Arc::clone(&metrics), stop.clone());
        let keeper = tokio::spawn(keeper);
        let before = std::fs::read(&path).unwrap();
        sighted(&leaks, 1);
        while std::fs::read(&path).unwrap() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(occurrences(&store), 1);
        let failed = |metrics: &Metrics| -> u64 {
            let page = serde_json::to_value(metrics.collect().unwrap()).unwrap();
            let all = page["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap().clone();
            let errors = all.iter().find(|metric| metric["name"] == "memory_leak_hunter_errors").unwrap();
            let points = errors["sum"]["dataPoints"].as_array().unwrap();
            let is_state = |point: &&serde_json::Value| point["attributes"].to_string().contains("\"state\"");
            points.iter().find(is_state).unwrap()["asInt"].as_str().unwrap().parse().unwrap()
        };
        assert_eq!(failed(&metrics), 0);
        std::fs::remove_dir_all(folder.path().join("kept")).unwrap();
        sighted(&leaks, 2);
        while failed(&metrics) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::fs::create_dir(folder.path().join("kept")).unwrap();
        sighted(&leaks, 3);
        stop.cancel();
        keeper.await.unwrap();
        assert_eq!(occurrences(&store), 3);
    }
}
