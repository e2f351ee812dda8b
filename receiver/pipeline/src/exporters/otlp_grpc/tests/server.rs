//! An OTLP server that answers as it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::data::Data;

/// A request as it arrived.
#[derive(Clone)]
pub(super) struct Taken {
    pub(super) metadata: MetadataMap,
    pub(super) data: Data,
}

type LogAnswer = Result<ExportLogsServiceResponse, Status>;

#[derive(Clone, Default)]
struct Service {
    /// For logs, one after the other; then success.
    answers: Arc<Mutex<VecDeque<LogAnswer>>>,
    taken: Arc<Mutex<Vec<Taken>>>,
}

/// Serves until it is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    service: Service,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Server {
    pub(super) fn start(answers: Vec<LogAnswer>) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), answers)
    }

    pub(super) fn start_at(address: SocketAddr, answers: Vec<LogAnswer>) -> Self {
        Self::serve(tonic::transport::Server::builder(), address, answers, usize::MAX)
    }

    /// Takes no message of more than `limit` bytes.
    pub(super) fn start_with_limit(limit: usize) -> Self {
        Self::serve(tonic::transport::Server::builder(), ([127, 0, 0, 1], 0).into(), vec![], limit)
    }

    #[cfg(feature = "tls")]
    pub(super) fn start_with_tls(tls: tonic::transport::ServerTlsConfig) -> Self {
        let builder = tonic::transport::Server::builder().tls_config(tls).unwrap();
        Self::serve(builder, ([127, 0, 0, 1], 0).into(), vec![], usize::MAX)
    }

    fn serve(
        mut builder: tonic::transport::Server,
        address: SocketAddr,
        answers: Vec<LogAnswer>,
        limit: usize,
    ) -> Self {
        let listener = bind(address);
        let address = listener.local_addr().unwrap();
        let service = Service { answers: Arc::new(Mutex::new(answers.into())), ..Service::default() };
        let logs = LogsServiceServer::new(service.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(limit);
        let metrics = MetricsServiceServer::new(service.clone()).accept_compressed(CompressionEncoding::Gzip);
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = builder
            .add_service(logs)
            .add_service(metrics)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped);
        let task = tokio::spawn(async move { serving.await.unwrap() });
        Self { address, service, task, stop: stop.drop_guard() }
    }

    /// Returns when the address is free again.
    pub(super) async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }

    pub(super) fn taken(&self) -> Vec<Taken> {
        self.service.taken.lock().unwrap().clone()
    }
}

/// An address where nobody listens.
pub(super) fn free_address() -> SocketAddr {
    bind(([127, 0, 0, 1], 0).into()).local_addr().unwrap()
}

/// With `SO_REUSEADDR`, so that a port can be used again at once.
fn bind(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(16).unwrap()
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let metadata = request.metadata().clone();
        self.taken.lock().unwrap().push(Taken { metadata, data: Data::Logs(request.into_inner()) });
        let answer = self.answers.lock().unwrap().pop_front();
        answer.unwrap_or_else(|| Ok(ExportLogsServiceResponse::default())).map(Response::new)
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let metadata = request.metadata().clone();
        self.taken.lock().unwrap().push(Taken { metadata, data: Data::Metrics(request.into_inner()) });
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
