//! SIGHUP: another configuration for the same program. What is known of the processes stays, and so do the counters.

use mlh_pipeline::service::{Exchanged, exchange};

use super::Exit;
use super::run::{DRAIN, Program, Running, stopping};
use super::settings::read;
use super::signals::Signals;

impl Program<'_> {
    /// Reads the configuration anew and goes on with it, or with the old one where it is of no use.
    ///
    /// # Errors
    /// Nothing runs any more: how the program is to end.
    pub(super) async fn reload(&self, running: Running, signals: &mut Signals) -> Result<Running, Exit> {
        tracing::info!("reading the configuration anew");
        let loaded = match read(self.args, &self.parts.factories) {
            Ok(loaded) => loaded,
            Err(problems) => {
                for problem in problems.to_string().lines() {
                    tracing::error!("{problem}");
                }
                return Ok(refused(running));
            }
        };
        let logs = loaded.logs;
        let next = match self.build(loaded) {
            Ok(next) => next,
            Err(error) => {
                tracing::error!("{error}");
                return Ok(refused(running));
            }
        };
        let old = running.kept;
        let again = || {
            let loaded = old.load(&self.parts.factories).map_err(|problems| problems.to_string())?;
            self.build(loaded).map(|running| running.service).map_err(|error| error.to_string())
        };
        let stop = async {
            let asked = signals.stop().await;
            // what has been started by then lets its target go as it does when it ends otherwise
            self.parts.desk.close();
            asked
        };
        match exchange(running.service, next.service, again, DRAIN, stop).await {
            Exchanged::Done(service) => {
                self.log.set(logs);
                self.parts.estates.clear();
                tracing::info!("the new configuration runs");
                Ok(Running { service, kept: next.kept })
            }
            Exchanged::Undone(service, error) => {
                self.parts.estates.clear();
                tracing::error!("{error}; the new configuration is refused and the old one runs again");
                Ok(Running { service, kept: old })
            }
            Exchanged::Failed { new, old } => {
                tracing::error!("{new}; and the old configuration cannot be had back: {old}");
                Err(Exit::Fatal)
            }
            Exchanged::Stopped { asked, clean } => {
                let exit = stopping(asked);
                Err(if clean { exit } else { Exit::Fatal })
            }
        }
    }
}

fn refused(running: Running) -> Running {
    tracing::error!("the new configuration is refused and the old one goes on");
    running
}
