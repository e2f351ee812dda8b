//! `replay`: a trace through the detectors, the records to standard output.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mlh_pipeline::config::LogSettings;
use mlh_pipeline::data::Data;
use mlh_pipeline::exporters::debug;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;

use super::Exit;
use super::log::Log;
use crate::cli::Output;
use crate::event;
use crate::hunt::judge::{Bench, Detail};
use crate::hunt::replay::Replay;
use crate::hunt::scope::Scope;
use crate::hunt::settings::HuntSettings;
use crate::records::HostIdentity;

pub(super) fn replay(file: &Path, interval: Option<Duration>, output: Output) -> Exit {
    Log::to_stderr(LogSettings::default());
    if interval.is_some_and(|interval| interval < Duration::from_secs(1)) {
        eprintln!("error: --interval: expected 1s or longer");
        return Exit::Usage;
    }
    let replay = match Replay::open(file) {
        Ok(replay) => replay,
        Err(error) => {
            eprintln!("error: {}: {error}", file.display());
            return Exit::Usage;
        }
    };
    let bench = Bench {
        // the recorded host's names are not in the trace, and this host's would be wrong
        host: Arc::new(HostIdentity::default()),
        page_size: replay.page_size(),
        growth_threshold: HuntSettings::default().rss_growth_threshold,
        oom_horizon: HuntSettings::default().oom_horizon,
        max_events_per_second: None,
        detail: Detail::Recorded,
        scope: Scope::default(),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut failure = None;
    let (mut processes, mut passes) = (0, 0);
    let faults = replay.run(&bench, interval, |outcome, seen| {
        (processes, passes) = (processes + seen, passes + 1);
        let written = outcome.records.into_iter().try_for_each(|logs| write(&mut out, logs, output));
        failure = written.err();
        failure.is_none()
    });
    match failure.or_else(|| out.flush().err()) {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("error: standard output: {error}");
            return Exit::Fatal;
        }
        _ => {}
    }
    if passes == 0 {
        eprintln!(
            "error: {}: no pass in it ({faults} faulty lines); expected a trace as `record` writes it",
            file.display()
        );
        return Exit::Usage;
    }
    eprintln!("{passes} passes, {processes} samples, {faults} faulty lines");
    Exit::Success
}

fn write(out: &mut impl Write, logs: ResourceLogs, output: Output) -> std::io::Result<()> {
    if output == Output::Text {
        let request = ExportLogsServiceRequest { resource_logs: vec![logs] };
        return out.write_all(debug::lines(&Data::Logs(request)).as_bytes());
    }
    let resource = logs.resource.unwrap_or_default();
    for record in logs.scope_logs.iter().flat_map(|scope| &scope.log_records) {
        let mut line = String::new();
        event::write(&resource, record, &mut line).map_err(std::io::Error::other)?;
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
