//! One attempt to send one request.

use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::config::{Compression, Config};
use super::verdict;
use crate::data::Data;
use crate::exporters::helper::{Accepted, Failure, Sender};

pub(super) struct Client {
    logs: LogsServiceClient<Channel>,
    metrics: MetricsServiceClient<Channel>,
    headers: MetadataMap,
    timeout: Duration,
}

impl Client {
    pub(super) fn new(channel: Channel, config: &Config) -> Self {
        let mut logs = LogsServiceClient::new(channel.clone()).accept_compressed(CompressionEncoding::Gzip);
        let mut metrics = MetricsServiceClient::new(channel).accept_compressed(CompressionEncoding::Gzip);
        if config.compression == Compression::Gzip {
            logs = logs.send_compressed(CompressionEncoding::Gzip);
            metrics = metrics.send_compressed(CompressionEncoding::Gzip);
        }
        Self { logs, metrics, headers: config.headers.clone(), timeout: config.timeout }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::from_parts(self.headers.clone(), tonic::Extensions::default(), message);
        // The server may know how long an answer is of use.
        request.set_timeout(self.timeout);
        request
    }

    async fn attempt(&self, data: &Data) -> Result<Accepted, Status> {
        match data {
            Data::Logs(logs) => {
                let answer = self.logs.clone().export(self.request(logs.clone())).await?.into_inner();
                Ok(answer.partial_success.map_or_else(Accepted::default, |partial| {
                    verdict::accepted(partial.rejected_log_records, partial.error_message)
                }))
            }
            Data::Metrics(metrics) => {
                let answer = self.metrics.clone().export(self.request(metrics.clone())).await?.into_inner();
                Ok(answer.partial_success.map_or_else(Accepted::default, |partial| {
                    verdict::accepted(partial.rejected_data_points, partial.error_message)
                }))
            }
        }
    }
}

#[async_trait]
impl Sender for Client {
    async fn send(&self, data: &Data) -> Result<Accepted, Failure> {
        // Around the whole attempt: connecting and shaking hands count as well.
        let outcome = tokio::time::timeout(self.timeout, self.attempt(data)).await.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!(
                "no answer within {}",
                humantime::format_duration(self.timeout)
            )))
        });
        outcome.map_err(|status| {
            let size = match data {
                Data::Logs(logs) => logs.encoded_len(),
                Data::Metrics(metrics) => metrics.encoded_len(),
            };
            verdict::failure(&status, size)
        })
    }
}
