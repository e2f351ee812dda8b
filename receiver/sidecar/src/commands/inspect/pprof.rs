//! The report as a profile that `go tool pprof` and its like open: gzipped protocol buffers (see [`proto`]).
//!
//! Sample types are those of Go's heap profiles, in their order, so that every viewer knows them; growth by page comes last
//! where somebody looked.

mod plumbing;
pub(super) mod proto;
mod tables;

use std::io::{self, Write as _};
use std::time::UNIX_EPOCH;

use flate2::Compression;
use flate2::write::GzEncoder;
use mlh_stacks::trace::Trace;
use prost::Message as _;

use self::plumbing::Plumbing;
use self::proto::{Label, Profile, Sample, ValueType};
use self::tables::Tables;
use super::by_page::is_by_page;
use super::finding::Finding;
use crate::records::words::printable;

/// Name and unit of each value of a sample.
const TYPES: [(&str, &str); 4] = [
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
    ("inuse_objects", "count"),
    ("inuse_space", "bytes"),
];
/// And of a fifth.
const GROWTH: (&str, &str) = ("growth_space", "bytes");

/// The whole file.
pub(super) fn render(finding: &Finding<'_>) -> io::Result<Vec<u8>> {
    let profile = profile(finding);
    let mut file = GzEncoder::new(Vec::new(), Compression::default());
    file.write_all(&profile.encode_to_vec())?;
    file.finish()
}

fn profile(finding: &Finding<'_>) -> Profile {
    let report = finding.report;
    let mut writer =
        Writer { finding, tables: Tables::new(report), plumbing: Plumbing::default(), samples: Vec::new() };
    let has_growth = !report.growth.is_empty();
    // what is known by its pages comes below
    for stack in report.stacks.iter().filter(|stack| !is_by_page(stack)) {
        // what the dead held is in use no more
        let live = |value: u64| if stack.gone { 0 } else { value };
        let mut values = vec![
            stack.allocated_count,
            stack.allocated_bytes,
            live(stack.live_count),
            live(stack.live_bytes),
        ];
        values.resize(TYPES.len() + usize::from(has_growth), 0);
        writer.sample(stack.pid, &stack.trace, &values, Some(stack.operation));
    }
    for stack in &report.growth {
        writer.sample(stack.pid, &stack.trace, &[0, 0, 0, 0, stack.figures.bytes], None);
    }
    let Writer { mut tables, plumbing, samples, .. } = writer;
    let drop_frames = tables.text(&plumbing.expression());
    let types = TYPES.into_iter().chain(has_growth.then_some(GROWTH));
    let sample_type =
        types.map(|(name, unit)| ValueType { r#type: tables.text(name), unit: tables.text(unit) }).collect();
    let leads = has_growth && report.stacks.first().is_none_or(is_by_page);
    let default = if leads { GROWTH.0 } else { "inuse_space" };
    let default_sample_type = tables.text(default);
    let made_by = format!("memory-leak-hunter {}", env!("CARGO_PKG_VERSION"));
    let comment = [finding.sentence(), made_by].map(|line| tables.text(&line)).to_vec();
    let time = finding.time(report.started).duration_since(UNIX_EPOCH).unwrap_or_default();
    let executable = finding.leader().and_then(|leader| leader.executable.as_deref());
    Profile {
        sample_type,
        sample: samples,
        drop_frames,
        time_nanos: time.as_nanos().try_into().unwrap_or_default(),
        duration_nanos: report.lasted.as_nanos().try_into().unwrap_or_default(),
        comment,
        default_sample_type,
        ..tables.into_profile(executable)
    }
}

struct Writer<'a> {
    finding: &'a Finding<'a>,
    tables: Tables,
    plumbing: Plumbing,
    samples: Vec<Sample>,
}

impl Writer<'_> {
    fn sample(&mut self, pid: u32, trace: &Trace, values: &[u64], operation: Option<&str>) {
        self.plumbing.add(trace);
        let location_id = self.tables.locations(pid, trace);
        // a sample without a place belongs to nobody
        if location_id.is_empty() {
            return;
        }
        let member = self.finding.report.members.iter().find(|member| member.pid == pid);
        let mut label = vec![Label { key: self.tables.text("pid"), num: i64::from(pid), ..Label::default() }];
        let container = member.and_then(|member| member.container_id.as_deref());
        for (key, text) in [("container_id", container), ("operation", operation)] {
            let Some(text) = text else { continue };
            let (key, str) = (self.tables.text(key), self.tables.text(&printable(text)));
            label.push(Label { key, str, ..Label::default() });
        }
        let value = values.iter().map(|value| i64::try_from(*value).unwrap_or(i64::MAX)).collect();
        self.samples.push(Sample { location_id, value, label });
    }
}
