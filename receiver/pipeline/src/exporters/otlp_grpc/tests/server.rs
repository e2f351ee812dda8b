//! An OTLP server that answers as it is told.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::profiles::v1development::profiles_service_server::{
    ProfilesService, ProfilesServiceServer,
};
use opentelemetry_proto::tonic::collector::profiles::v1development::{
    ExportProfilesPartialSuccess, ExportProfilesServiceRequest, ExportProfilesServiceResponse,
};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
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

/// A port that the system chooses.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

type LogAnswer = Result<ExportLogsServiceResponse, Status>;

#[derive(Clone)]
struct Service {
    /// For logs, one after the other; then success.
    answers: Arc<Mutex<VecDeque<LogAnswer>>>,
    taken: Arc<Mutex<Vec<Taken>>>,
    /// While it is closed, logs are taken and not answered.
    answering: Arc<watch::Sender<bool>>,
    /// So many profiles of each request are thrown away; without a number there is no service for profiles.
    rejects: Option<i64>,
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
        Self::start_at(ANY, answers)
    }

    pub(super) fn start_at(address: SocketAddr, answers: Vec<LogAnswer>) -> Self {
        Self::serve(tonic::transport::Server::builder(), bind(address), answers, usize::MAX, None)
    }

    /// On a listener that may have had connections already.
    pub(super) fn start_on(listener: TcpListener) -> Self {
        Self::serve(tonic::transport::Server::builder(), listener, vec![], usize::MAX, None)
    }

    /// Takes no message of more than `limit` bytes.
    pub(super) fn start_with_limit(limit: usize) -> Self {
        Self::serve(tonic::transport::Server::builder(), bind(ANY), vec![], limit, None)
    }

    /// Knows the profiles' service as well, which throws away `rejected` profiles of each request.
    pub(super) fn start_with_profiles(rejected: i64) -> Self {
        Self::serve(tonic::transport::Server::builder(), bind(ANY), vec![], usize::MAX, Some(rejected))
    }

    #[cfg(feature = "tls")]
    pub(super) fn start_with_tls(tls: tonic::transport::ServerTlsConfig) -> Self {
        let builder = tonic::transport::Server::builder().tls_config(tls).unwrap();
        Self::serve(builder, bind(ANY), vec![], usize::MAX, None)
    }

    fn serve(
        mut builder: tonic::transport::Server,
        listener: TcpListener,
        answers: Vec<LogAnswer>,
        limit: usize,
        rejects: Option<i64>,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let service = Service {
            answers: Arc::new(Mutex::new(answers.into())),
            taken: Arc::default(),
            answering: Arc::new(watch::Sender::new(true)),
            rejects,
        };
        let logs = LogsServiceServer::new(service.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(limit);
        let metrics = MetricsServiceServer::new(service.clone()).accept_compressed(CompressionEncoding::Gzip);
        let profiles = rejects.map(|_| {
            ProfilesServiceServer::new(service.clone()).accept_compressed(CompressionEncoding::Gzip)
        });
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = builder
            .add_service(logs)
            .add_service(metrics)
            .add_optional_service(profiles)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped);
        let task = tokio::spawn(async move { serving.await.unwrap() });
        Self { address, service, task, stop: stop.drop_guard() }
    }

    /// Returns when the address is free again.
    pub(super) async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }

    /// Whether logs are answered; those that have waited are answered too.
    pub(super) fn answer(&self, answering: bool) {
        self.service.answering.send_replace(answering);
    }

    pub(super) fn taken(&self) -> Vec<Taken> {
        self.service.taken.lock().unwrap().clone()
    }
}

/// An address where nobody listens.
pub(super) fn free_address() -> SocketAddr {
    bind(ANY).local_addr().unwrap()
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
        let mut answering = self.answering.subscribe();
        answering.wait_for(|answering| *answering).await.unwrap();
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

#[tonic::async_trait]
impl ProfilesService for Service {
    async fn export(
        &self,
        request: Request<ExportProfilesServiceRequest>,
    ) -> Result<Response<ExportProfilesServiceResponse>, Status> {
        let metadata = request.metadata().clone();
        self.taken.lock().unwrap().push(Taken { metadata, data: Data::Profiles(request.into_inner()) });
        let rejected_profiles = self.rejects.unwrap_or_default();
        let partial = ExportProfilesPartialSuccess { rejected_profiles, ..Default::default() };
        let partial_success = (rejected_profiles != 0).then_some(partial);
        Ok(Response::new(ExportProfilesServiceResponse { partial_success }))
    }
}
