//! What the program is asked from outside while it runs.

pub(super) use imp::Signals;

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// To end, by the signal of this name.
    Stop(&'static str),
    /// To read its configuration anew.
    Reload,
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

    use super::Asked;

    /// The signals since [`listen`](Self::listen). Several of one kind that nobody has asked for yet count as one, and
    /// none is lost.
    pub(in super::super) struct Signals {
        stops: Stops,
        reload: Option<Signal>,
    }

    struct Stops {
        terminate: Option<Signal>,
        interrupt: Option<Signal>,
    }

    impl Signals {
        /// From now on a signal no longer ends the process by itself.
        pub(in super::super) fn listen() -> Self {
            let stops = Stops {
                terminate: open(SignalKind::terminate(), "SIGTERM"),
                interrupt: open(SignalKind::interrupt(), "SIGINT"),
            };
            Self { stops, reload: open(SignalKind::hangup(), "SIGHUP") }
        }

        /// The next request; stopping comes first.
        pub(in super::super) async fn next(&mut self) -> Asked {
            tokio::select! {
                biased;
                signal = self.stops.next() => Asked::Stop(signal),
                () = arrival(&mut self.reload) => Asked::Reload,
            }
        }

        /// The name of the next signal that asks to stop. Others wait.
        pub(in super::super) async fn stop(&mut self) -> &'static str {
            self.stops.next().await
        }
    }

    impl Stops {
        async fn next(&mut self) -> &'static str {
            tokio::select! {
                () = arrival(&mut self.terminate) => "SIGTERM",
                () = arrival(&mut self.interrupt) => "SIGINT",
            }
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

    use super::Asked;

    /// Ctrl-C since [`listen`](Self::listen).
    pub(in super::super) struct Signals {
        stop: Option<CtrlC>,
    }

    impl Signals {
        /// From now on Ctrl-C no longer ends the process by itself.
        pub(in super::super) fn listen() -> Self {
            let stop = ctrl_c().inspect_err(|error| tracing::warn!(%error, "Ctrl-C cannot be handled")).ok();
            Self { stop }
        }

        /// The next request. There is none to reload here.
        pub(in super::super) async fn next(&mut self) -> Asked {
            Asked::Stop(self.stop().await)
        }

        /// The next request to stop.
        pub(in super::super) async fn stop(&mut self) -> &'static str {
            let arrived = match &mut self.stop {
                Some(ctrl_c) => ctrl_c.recv().await,
                None => None,
            };
            match arrived {
                Some(()) => "Ctrl-C",
                None => std::future::pending().await,
            }
        }
    }
}
