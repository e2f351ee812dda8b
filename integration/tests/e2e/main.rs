//! The sidecar as its users run it: a real kernel, a real Collector, a real Prometheus.
//!
//! One binary, so that scenarios run side by side: most of them wait for time to pass. `make test` builds the
//! sidecar and the servers first. What cannot run on a machine prints `SKIPPED test: reason`.

#![forbid(unsafe_code)]

mod check;
mod collector;
mod commands;
mod containers;
mod delivery;
mod killed;
mod lifecycle;
mod metrics;
mod neighbours;
mod oom;
mod profiles;
mod reload;
mod reports;
mod shipped;
mod tracepoint;
mod unprivileged;
mod workflow;
mod workflow_rungs;
