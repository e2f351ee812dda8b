//! `record`: the sweeps of this host as a trace. It makes the passes that a running sidecar would make, so that a
//! replay reaches the same verdicts.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::Context;
use mlh_detect::Pass;
use mlh_pipeline::config::LogSettings;
use mlh_targets::host::{HostClock, HostIdentity as Machine};
use tokio::time::Instant;

use super::Exit;
use super::log::Log;
use super::signals::asked_to_stop;
use crate::hunt::judge::{Bench, Detail, Judge, Seen};
use crate::hunt::schedule::Schedule;
use crate::hunt::scope::Scope;
use crate::hunt::settings::HuntSettings;
use crate::observe::{self, Listen, Observer, Options, Told};
use crate::records::HostIdentity;
use crate::trace::TraceWriter;

/// What the kernel tells between two passes. One is a few hundred bytes.
const EARS: usize = 4096;

pub(super) fn record(file: &Path, duration: Duration, interval: Duration, anonymize: bool) -> Exit {
    Log::to_stderr(LogSettings::default());
    if interval < Duration::from_secs(1) || duration < Duration::from_secs(1) {
        eprintln!("error: --interval and --duration: expected 1s or longer");
        return Exit::Usage;
    }
    if file.exists() {
        eprintln!("error: {} exists already; remove it or choose another name", file.display());
        return Exit::Usage;
    }
    let mut observer = match observe::open(&Options::default()) {
        Ok((observer, choice)) => {
            tracing::info!("{choice}");
            observer
        }
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Host;
        }
    };
    let out = match File::create_new(file) {
        Ok(out) => BufWriter::new(out),
        Err(error) => {
            eprintln!("error: {}: {error}", file.display());
            return Exit::Usage;
        }
    };
    let machine = Machine::read();
    let ears = Ears::open(observer.as_mut());
    let recorder = Recorder {
        judge: Judge::new(&Bench {
            host: Arc::new(HostIdentity::default()),
            page_size: machine.page_size,
            growth_threshold: HuntSettings::default().rss_growth_threshold,
            oom_horizon: HuntSettings::default().oom_horizon,
            max_events_per_second: None,
            detail: Detail::Recorded,
            scope: Scope::default(),
        }),
        trace: TraceWriter::new(out, &machine, anonymize),
        observer,
        ears,
    };
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime")
        .and_then(|runtime| runtime.block_on(recorder.run(duration, interval)));
    match done {
        Ok(passes) => {
            eprintln!("{passes} passes written to {}", file.display());
            Exit::Success
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::Fatal
        }
    }
}

/// Hears what the kernel tells by itself.
struct Ears {
    told: Receiver<Told>,
    missed: Arc<AtomicU64>,
}

impl Ears {
    fn open(observer: &mut dyn Observer) -> Self {
        let (to, told) = sync_channel(EARS);
        let missed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&missed);
        let sink = Box::new(move |told| {
            let lost = match told {
                Told::Lost(lost) => lost,
                told => u64::from(to.try_send(told).is_err()),
            };
            count.fetch_add(lost, Ordering::Relaxed);
        });
        for spot in observer.listen(&Listen::default(), sink) {
            tracing::warn!(reason = %spot.reason, "not recorded on this host: {}", spot.what);
        }
        Self { told, missed }
    }
}

struct Recorder<W> {
    observer: Box<dyn Observer>,
    ears: Ears,
    judge: Judge,
    trace: TraceWriter<W>,
}

impl<W: Write> Recorder<W> {
    async fn run(mut self, duration: Duration, interval: Duration) -> anyhow::Result<u64> {
        let passes = self.passes(duration, interval).await?;
        self.hear()?;
        let missed = self.ears.missed.load(Ordering::Relaxed);
        if missed > 0 {
            tracing::warn!(missed, "kills could not be recorded: there were too many at once");
        }
        Ok(passes)
    }

    async fn passes(&mut self, duration: Duration, interval: Duration) -> anyhow::Result<u64> {
        let began = Instant::now();
        let mut schedule = Schedule::new(began.elapsed(), interval);
        let mut stop = std::pin::pin!(asked_to_stop());
        let mut passes = 0;
        loop {
            let (pass, wait) = schedule.next(began.elapsed(), self.judge.watch_again_in());
            let left = duration.saturating_sub(began.elapsed());
            if wait > left || left.is_zero() {
                return Ok(passes);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = &mut stop => return Ok(passes),
            }
            if pass == Pass::Full {
                schedule.swept(began.elapsed());
            }
            self.pass(pass)?;
            passes += 1;
        }
    }

    fn pass(&mut self, pass: Pass) -> anyhow::Result<()> {
        let observation =
            self.judge.look(self.observer.as_mut(), pass).context("a pass over the processes")?;
        let clock = HostClock::read().context("the clock")?;
        // a kill before this pass has been heard of by now, and belongs before it
        self.hear()?;
        self.trace.pass(&observation, &clock).context("the trace")?;
        // the judge decides who is looked at more closely; its records are of no interest here
        self.judge.pass(
            &Seen {
                host: Some(observation.host),
                readings: &observation.readings,
                cgroups: &observation.cgroups,
                ..Seen::empty(observation.at, pass)
            },
            &clock,
        );
        Ok(())
    }

    /// Writes the kills that were told since the last time.
    fn hear(&mut self) -> anyhow::Result<()> {
        for told in self.ears.told.try_iter() {
            if let Told::Killed { at, reading } = told {
                self.trace.killed(at, &reading).context("the trace")?;
            }
        }
        Ok(())
    }
}
