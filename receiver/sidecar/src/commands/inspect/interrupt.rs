//! The wish of whoever waits to see the report now: SIGINT or SIGTERM, once. Twice is a wish to be gone.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::{Builder, Runtime};

use super::super::signals::{Asked, Signals};

/// Listens while it lives, on a thread of its own: placing probes and naming stacks may take seconds, and must not keep
/// a second signal waiting.
pub(super) struct Interrupt {
    asked: Arc<AtomicBool>,
    _runtime: Runtime,
}

impl Interrupt {
    /// # Errors
    /// No thread can be had.
    pub(super) fn listen() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let asked = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&asked);
        // inside of the runtime, and before anything that takes time
        let mut signals = {
            let _inside = runtime.enter();
            Signals::listen()
        };
        runtime.spawn(async move {
            loop {
                let signal = match signals.next().await {
                    Asked::Stop(signal) => signal,
                    // the terminal has gone
                    Asked::Reload => "SIGHUP",
                };
                if flag.swap(true, Ordering::Relaxed) {
                    // the kernel takes the probes out of the target when this process is gone
                    std::process::exit(as_shells_say(signal));
                }
            }
        });
        Ok(Self { asked, _runtime: runtime })
    }

    /// Whether somebody has asked.
    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

/// 128 and the signal's number.
fn as_shells_say(signal: &str) -> i32 {
    match signal {
        "SIGTERM" => 143,
        "SIGHUP" => 129,
        _ => 130,
    }
}
