//! What the program is asked from outside while it runs.

use imp::{Reloads, Stops};

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// To end, by the signal of this name.
    Stop(&'static str),
    /// To read its configuration anew.
    Reload,
}

/// The requests since [`listen`](Self::listen). Several of one kind that nobody has asked for yet count as one, and none is
/// lost.
pub(super) struct Signals {
    stops: Stops,
    reloads: Reloads,
}

impl Signals {
    /// From now on a signal no longer ends the process by itself.
    pub(super) fn listen() -> Self {
        Self { stops: Stops::listen(), reloads: Reloads::listen() }
    }

    /// The next request; stopping comes first.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            signal = self.stops.next() => Asked::Stop(signal),
            () = self.reloads.next() => Asked::Reload,
        }
    }

    /// The name of the next signal that asks to stop. Other requests wait.
    pub(super) async fn stop(&mut self) -> &'static str {
        self.stops.next().await
    }
}

/// Resolves with the name of the signal that asks a program without a configuration to end.
pub(super) async fn asked_to_stop() -> &'static str {
    match Signals::listen().next().await {
        Asked::Stop(signal) => signal,
        // the terminal has gone
        Asked::Reload => "SIGHUP",
    }
}

#[cfg(unix)]
mod imp {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    pub(super) struct Stops {
        terminate: Option<Signal>,
        interrupt: Option<Signal>,
    }

    impl Stops {
        pub(super) fn listen() -> Self {
            Self {
                terminate: open(SignalKind::terminate(), "SIGTERM"),
                interrupt: open(SignalKind::interrupt(), "SIGINT"),
            }
        }

        pub(super) async fn next(&mut self) -> &'static str {
            tokio::select! {
                () = arrival(&mut self.terminate) => "SIGTERM",
                () = arrival(&mut self.interrupt) => "SIGINT",
            }
        }
    }

    pub(super) struct Reloads(Option<Signal>);

    impl Reloads {
        pub(super) fn listen() -> Self {
            Self(open(SignalKind::hangup(), "SIGHUP"))
        }

        pub(super) async fn next(&mut self) {
            arrival(&mut self.0).await;
        }
    }

    fn open(kind: SignalKind, name: &str) -> Option<Signal> {
        signal(kind).inspect_err(|error| tracing::warn!(%error, name, "this signal cannot be handled")).ok()
    }

    async fn arrival(signal: &mut Option<Signal>) {
        let arrived = match signal {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if arrived.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(not(unix))]
mod imp {
    use tokio::signal::windows::{CtrlC, ctrl_c};

    pub(super) struct Stops(Option<CtrlC>);

    impl Stops {
        pub(super) fn listen() -> Self {
            let stop = ctrl_c().inspect_err(|error| tracing::warn!(%error, "Ctrl-C cannot be handled"));
            Self(stop.ok())
        }

        pub(super) async fn next(&mut self) -> &'static str {
            let arrived = match &mut self.0 {
                Some(ctrl_c) => ctrl_c.recv().await,
                None => None,
            };
            match arrived {
                Some(()) => "Ctrl-C",
                None => std::future::pending().await,
            }
        }
    }

    /// There is no request to reload here.
    pub(super) struct Reloads;

    impl Reloads {
        pub(super) fn listen() -> Self {
            Self
        }

        pub(super) async fn next(&mut self) {
            std::future::pending::<()>().await;
        }
    }
}
