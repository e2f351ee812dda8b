//! From the scout's channel, and from the store of the metrics, into the pipelines.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use mlh_pipeline::component::{Consumer, Loss, Refused, Telemetry};
use mlh_pipeline::data::Data;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use crate::control::Findings;
use crate::metrics::{Metrics, stage};

/// Records handed on at once.
const HANDFUL: usize = 256;

/// Remembers records among the findings and hands them on, until the sender is gone and the channel empty.
pub(super) async fn logs(
    mut records: Receiver<ResourceLogs>,
    next: Option<Arc<dyn Consumer>>,
    metrics: Arc<Metrics>,
    findings: Arc<Findings>,
    hurry: CancellationToken,
) {
    let mut resource_logs = Vec::new();
    while records.recv_many(&mut resource_logs, HANDFUL).await > 0 {
        resource_logs.iter().for_each(|logs| findings.add(logs));
        let request = ExportLogsServiceRequest { resource_logs: std::mem::take(&mut resource_logs) };
        // without a logs pipeline the findings still move the metrics
        let Some(next) = &next else { continue };
        hand_on(Data::Logs(request), next.as_ref(), &metrics, &hurry).await;
    }
}

/// Hands profiles on, until the sender is gone and the channel empty.
pub(super) async fn profiles(
    mut profiles: Receiver<ExportProfilesServiceRequest>,
    next: Arc<dyn Consumer>,
    metrics: Arc<Metrics>,
    hurry: CancellationToken,
) {
    while let Some(request) = profiles.recv().await {
        hand_on(Data::Profiles(request), next.as_ref(), &metrics, &hurry).await;
    }
}

/// Exports the metrics every `interval`, and once more at the end.
pub(super) async fn metrics(
    interval: Duration,
    next: Arc<dyn Consumer>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let ended = tokio::select! {
            _ = ticks.tick() => false,
            () = stop.cancelled() => true,
        };
        match metrics.collect() {
            Ok(request) => hand_on(Data::Metrics(request), next.as_ref(), &metrics, &stop).await,
            Err(error) => {
                tracing::error!(%error, "the metrics could not be collected");
                metrics.errors(stage::COLLECT, 1);
            }
        }
        if ended {
            return;
        }
    }
}

/// Offers the data until it is taken, for half a minute at most, or once more when there is a `hurry`; what was
/// never taken is a loss.
async fn hand_on(data: Data, next: &dyn Consumer, metrics: &Metrics, hurry: &CancellationToken) {
    let (signal, items) = (data.signal(), data.items() as u64);
    let patience = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(5))
        .with_max_times(10);
    let offered = (|| next.consume(data.clone()))
        .retry(patience)
        .when(|refused| matches!(refused, Refused::Retryable(_)) && !hurry.is_cancelled());
    if let Err(refused) = offered.await {
        tracing::warn!(%signal, items, %refused, "the pipeline did not take what was found");
        metrics.lost(signal, Loss { stage: stage::PIPELINE, count: items });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::HostIdentity;
    use async_trait::async_trait;
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ScopeLogs};
    use std::sync::Mutex;

    /// Refuses as often as it is told to.
    struct Gate {
        refusals: Mutex<u32>,
        taken: Mutex<Vec<usize>>,
        refusal: Refused,
    }

    #[async_trait]
    impl Consumer for Gate {
        async fn consume(&self, data: Data) -> Result<(), Refused> {
            let mut refusals = self.refusals.lock().unwrap();
            if *refusals > 0 {
                *refusals -= 1;
                return Err(self.refusal.clone());
            }
            self.taken.lock().unwrap().push(data.items());
            Ok(())
        }
    }

    fn record() -> ResourceLogs {
        let scope_logs = vec![ScopeLogs { log_records: vec![LogRecord::default()], ..ScopeLogs::default() }];
        ResourceLogs { scope_logs, ..ResourceLogs::default() }
    }

    fn dropped(metrics: &Metrics) -> f64 {
        let request = metrics.collect().unwrap();
        let text = serde_json::to_value(&request).unwrap().to_string();
        // every point of the dropped events is an integer in a string; all but the lost ones are zero
        let dropped =
            text.split("\"name\":").find(|part| part.contains("dropped_events")).unwrap().to_owned();
        let value = dropped.split("\"asInt\":\"").skip(1).filter_map(|part| part.split('"').next());
        value.filter_map(|number| number.parse::<f64>().ok()).sum()
    }

    async fn feed(refusals: u32, refusal: Refused, records: usize) -> (Vec<usize>, f64) {
        let gate = Arc::new(Gate { refusals: Mutex::new(refusals), taken: Mutex::new(Vec::new()), refusal });
        let store = Arc::new(Metrics::new(&HostIdentity::default()));
        let (sender, receiver) = tokio::sync::mpsc::channel(1000);
        for _ in 0..records {
            sender.send(record()).await.unwrap();
        }
        drop(sender);
        logs(receiver, Some(gate.clone()), Arc::clone(&store), Arc::default(), CancellationToken::new())
            .await;
        (gate.taken.lock().unwrap().clone(), dropped(&store))
    }

    /// Guarantees: all records arrive, in handfuls, and the feed ends with the channel.
    #[tokio::test]
    async fn hands_on() {
        assert_eq!(feed(0, Refused::Permanent(String::new()), 300).await, (vec![256, 44], 0.0));
    }

    /// Guarantees: a refusal that may pass is waited out and nothing is lost; one that will not pass is a counted
    /// loss, as is one that lasts too long.
    #[tokio::test(start_paused = true)]
    async fn refusals() {
        let busy = Refused::Retryable("busy".into());
        assert_eq!(feed(3, busy.clone(), 5).await, (vec![5], 0.0));
        assert_eq!(feed(1, Refused::Permanent("no".into()), 5).await, (vec![], 5.0));
        assert_eq!(feed(1000, busy, 5).await, (vec![], 5.0));
    }
}
