//! One attempt to send one request.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::profiles::v1development::profiles_service_client::ProfilesServiceClient;
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::config::{Compression, Config};
use super::verdict;
use crate::data::Data;
use crate::exporters::helper::{Accepted, Failure, Sender};

/// What gRPC servers, the Collector among them, take at once unless they are told otherwise. Bytes.
const USUAL_LIMIT: usize = 4 * 1024 * 1024;

/// After so many attempts in a row without any answer the connection is given up. A peer that vanished without a word
/// (a lost node behind a virtual address) would else be waited for until TCP gives up, which takes a quarter of an hour.
const SILENCE: u32 = 3;

pub(super) struct Client {
    destination: String,
    endpoint: Endpoint,
    line: Mutex<Arc<Line>>,
    compression: Compression,
    headers: MetadataMap,
    timeout: Duration,
}

/// One connection, made on first use and again when it breaks.
struct Line {
    logs: LogsServiceClient<Channel>,
    metrics: MetricsServiceClient<Channel>,
    profiles: ProfilesServiceClient<Channel>,
    unanswered: AtomicU32,
}

impl Line {
    fn new(endpoint: &Endpoint, compression: Compression) -> Arc<Self> {
        let channel = endpoint.connect_lazy();
        let mut logs = LogsServiceClient::new(channel.clone()).accept_compressed(CompressionEncoding::Gzip);
        let mut metrics =
            MetricsServiceClient::new(channel.clone()).accept_compressed(CompressionEncoding::Gzip);
        let mut profiles = ProfilesServiceClient::new(channel).accept_compressed(CompressionEncoding::Gzip);
        if compression == Compression::Gzip {
            logs = logs.send_compressed(CompressionEncoding::Gzip);
            metrics = metrics.send_compressed(CompressionEncoding::Gzip);
            profiles = profiles.send_compressed(CompressionEncoding::Gzip);
        }
        Arc::new(Self { logs, metrics, profiles, unanswered: AtomicU32::new(0) })
    }
}

impl Client {
    pub(super) fn new(endpoint: Endpoint, config: &Config) -> Self {
        Self {
            destination: config.target.endpoint.to_string(),
            line: Mutex::new(Line::new(&endpoint, config.compression)),
            endpoint,
            compression: config.compression,
            headers: config.headers.clone(),
            timeout: config.timeout,
        }
    }

    fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Requests that are under way keep the old connection until they end.
    fn replace(&self, silent: &Arc<Line>) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&line, silent) {
            tracing::debug!(destination = self.destination, "no answers: trying a new connection");
            *line = Line::new(&self.endpoint, self.compression);
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::from_parts(self.headers.clone(), tonic::Extensions::default(), message);
        // The server may know how long an answer is of use.
        request.set_timeout(self.timeout);
        request
    }

    async fn export(&self, line: &Line, data: &Data) -> Result<Accepted, Status> {
        match data {
            Data::Logs(logs) => {
                let answer = line.logs.clone().export(self.request(logs.clone())).await?.into_inner();
                Ok(answer.partial_success.map_or_else(Accepted::default, |partial| {
                    verdict::accepted(partial.rejected_log_records, partial.error_message)
                }))
            }
            Data::Metrics(metrics) => {
                let answer = line.metrics.clone().export(self.request(metrics.clone())).await?.into_inner();
                Ok(answer.partial_success.map_or_else(Accepted::default, |partial| {
                    verdict::accepted(partial.rejected_data_points, partial.error_message)
                }))
            }
            Data::Profiles(profiles) => {
                let answer = line.profiles.clone().export(self.request(profiles.clone())).await?.into_inner();
                Ok(answer.partial_success.map_or_else(Accepted::default, |partial| {
                    let rejected = verdict::rejected_samples(partial.rejected_profiles, profiles);
                    verdict::accepted(rejected, partial.error_message)
                }))
            }
        }
    }

    async fn attempt(&self, data: &Data) -> Result<Accepted, Status> {
        let line = self.line();
        // Around the whole attempt: connecting and shaking hands count as well.
        let outcome = tokio::time::timeout(self.timeout, self.export(&line, data)).await;
        match outcome {
            Ok(Err(status)) if verdict::timed_out(&status) => {}
            Ok(outcome) => {
                line.unanswered.store(0, Ordering::Relaxed);
                return outcome;
            }
            Err(_) => {}
        }
        if line.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= SILENCE {
            self.replace(&line);
        }
        let timeout = humantime::format_duration(self.timeout);
        Err(Status::deadline_exceeded(format!("no answer within {timeout}")))
    }
}

#[async_trait]
impl Sender for Client {
    fn destination(&self) -> &str {
        &self.destination
    }

    async fn send(&self, data: &Data) -> Result<Accepted, Failure> {
        let size = match data {
            Data::Logs(logs) => logs.encoded_len(),
            Data::Metrics(metrics) => metrics.encoded_len(),
            Data::Profiles(profiles) => profiles.encoded_len(),
        };
        // A single item is sent whatever its size: perhaps the server was told otherwise.
        if size > USUAL_LIMIT && data.items() > 1 {
            let reason = format!("{size} bytes at once, and servers usually take {USUAL_LIMIT}");
            return Err(Failure::TooLarge { reason });
        }
        self.attempt(data).await.map_err(|status| verdict::failure(&status, data.signal(), size))
    }
}
