//! The control socket: the `control` extension, by which somebody on this host tells the running sidecar whom to look at,
//! and asks what it has found. HTTP/1.1 with JSON over a Unix socket, for root and the sidecar's own user.
//!
//! Read in this order: `message` is what is asked and answered, `api` the paths, `findings` what is remembered of what
//! was found, `linux` the socket and who may use it, and the client's side of it.

mod message;
mod findings;
mod api;

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
use elsewhere as os;
#[cfg(target_os = "linux")]
use linux as os;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use mlh_pipeline::component::{
    BuildContext, Component, ComponentError, Description, ExtensionBlueprint, ExtensionFactory, Status,
};
use mlh_pipeline::config::{Setting, Settings};
use serde_yaml::Value;

pub use api::{Api, Orders, Peer};
pub use findings::Findings;
pub use message::{
    Ask, ClimbMessage, FrameMessage, GrowthMessage, MemberMessage, StackMessage, StatusMessage, TraceMessage,
};
pub use os::{Answer, request};

/// Where the socket is, unless the configuration says otherwise.
pub const SOCKET: &str = "/run/memory-leak-hunter/control.sock";

/// What a Unix socket's address holds, less the zero at its end.
const LONGEST_PATH: usize = 107;

/// Makes control sockets.
pub struct Factory {
    /// Who carries orders out.
    pub orders: Arc<dyn Orders>,
    /// What was found lately.
    pub findings: Arc<Findings>,
}

impl ExtensionFactory for Factory {
    fn describe(&self) -> Description {
        Description { kind: "control", aliases: &[], signals: &[] }
    }

    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ExtensionBlueprint> {
        let socket = settings.get("socket", SocketPath(PathBuf::from(SOCKET)));
        let api = Api::new(Arc::clone(&self.orders), Arc::clone(&self.findings));
        Box::new(Blueprint { socket: socket.0, api })
    }
}

/// An absolute path, short enough for a socket.
#[derive(Debug, Clone, PartialEq)]
struct SocketPath(PathBuf);

impl Setting for SocketPath {
    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        let path = PathBuf::from(&text);
        // `has_root`, as a configuration is checked on every platform by the same rules
        let sound = path.has_root() && path.file_name().is_some() && !text.ends_with('/');
        if sound && text.len() <= LONGEST_PATH && !text.contains('\0') {
            Ok(Self(path))
        } else {
            Err(format!("the absolute path of a socket, of at most {LONGEST_PATH} bytes, such as {SOCKET}"))
        }
    }

    fn show(&self) -> Value {
        self.0.to_string_lossy().into_owned().into()
    }
}

struct Blueprint {
    socket: PathBuf,
    api: Api,
}

impl Blueprint {
    fn control(self, context: BuildContext) -> Control {
        let Self { socket, api } = self;
        // whoever has not asked for another place may not need it: the hunt goes on without
        let dispensable = socket == Path::new(SOCKET);
        Control { socket, dispensable, api, context, server: None }
    }
}

impl ExtensionBlueprint for Blueprint {
    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<dyn Component>, ComponentError> {
        Ok(Box::new(self.control(context)))
    }
}

struct Control {
    socket: PathBuf,
    /// Where it cannot be had, that is no error.
    dispensable: bool,
    api: Api,
    context: BuildContext,
    server: Option<os::Server>,
}

#[async_trait]
impl Component for Control {
    async fn start(&mut self) -> Result<(), ComponentError> {
        match os::Server::start(&self.socket, &self.api) {
            Ok(server) => {
                tracing::info!(socket = %self.socket.display(), "taking orders");
                self.server = Some(server);
            }
            Err(reason) if self.dispensable => {
                tracing::warn!(
                    "no control socket, so `target`, `release` and `status` will not work: {reason}"
                );
            }
            Err(reason) => return Err(ComponentError { component: self.context.id.clone(), reason }),
        }
        self.context.host.report(&self.context.id, Status::Ok, None);
        Ok(())
    }

    async fn shutdown(&mut self) -> Result<(), ComponentError> {
        if let Some(server) = self.server.take() {
            let stopped = server.stop().await;
            stopped.map_err(|reason| ComponentError { component: self.context.id.clone(), reason })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mlh_pipeline::component::ComponentId;

    use super::*;
    use crate::investigate::desk::Desk;

    /// Guarantees: the socket is an absolute path that fits into a socket's address; what else is written is refused with
    /// an example.
    #[test]
    fn paths() {
        let read = |text: &str| SocketPath::read(&text.into());
        assert_eq!(read(SOCKET), Ok(SocketPath(SOCKET.into())));
        assert_eq!(SocketPath(SOCKET.into()).show(), SOCKET);
        let long = format!("/{}", "a".repeat(LONGEST_PATH));
        for wrong in ["", "control.sock", "/", "/run/", "/run/..", "/a\0b", &long] {
            let expected = read(wrong).unwrap_err();
            assert!(expected.contains(SOCKET), "{wrong}: {expected}");
        }
        assert!(read(&long[..LONGEST_PATH]).is_ok());
    }

    struct Board;

    impl mlh_pipeline::component::Host for Board {
        fn report(&self, _: &ComponentId, status: Status, _: Option<String>) {
            assert_eq!(status, Status::Ok);
        }

        fn statuses(&self) -> Vec<(ComponentId, Status, Option<String>)> {
            Vec::new()
        }
    }

    /// Guarantees: a socket that cannot be had is an error that names its place, unless nobody asked for that place: then
    /// everything else goes on, and is well.
    #[tokio::test]
    async fn who_asks_for_a_place_is_told() {
        let build = |socket: &str| {
            let api = Api::new(Arc::<Desk>::default(), Arc::default());
            let telemetry = Arc::new(crate::metrics::Metrics::new(&crate::records::HostIdentity::default()));
            let id = ComponentId::parse("control").unwrap();
            Blueprint { socket: socket.into(), api }.control(BuildContext {
                id,
                telemetry,
                host: Arc::new(Board),
            })
        };
        const NOWHERE: &str = "/dev/null/control.sock";
        let error = build(NOWHERE).start().await.unwrap_err().to_string();
        assert!(error.starts_with("control: "), "{error}");
        assert!(build(SOCKET).dispensable);
        let mut usual = Control { dispensable: true, ..build(NOWHERE) };
        usual.start().await.unwrap();
        usual.shutdown().await.unwrap();
    }
}
