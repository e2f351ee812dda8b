//! The report as one flame graph: what is live by the stack that allocated it, or what is still there by the stack that
//! touched it, where probes have seen no allocation or little of it.

use std::io;

use super::finding::{Finding, name};
use super::flame::{Flame, MARK};
use crate::records::words::{moment, printable, size, span};

/// Said in place of a graph.
const NOTHING: &str = "\
<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"60\" viewBox=\"0 0 720 60\">\
<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\
<text x=\"16\" y=\"36\" font-family=\"monospace\" font-size=\"14\">No allocation was seen that is still live.</text></svg>
";

/// What a graph is made of: as its title says it, and its second line.
const ALLOCATED: (&str, &str) = ("live, by the stack that allocated it", "");
const TOUCHED: (&str, &str) =
    ("still there, by the stack that touched it", "; estimated from sampled page faults");

/// The whole file. Fails only where there is no memory to draw it.
pub(super) fn render(finding: &Finding<'_>) -> io::Result<String> {
    let who = match finding.leader() {
        Some(leader) if finding.report.members.len() == 1 => format!("{} (pid {})", name(leader), leader.pid),
        _ => printable(&finding.target.to_string()),
    };
    let report = finding.report;
    let started = moment(finding.time(report.started), finding.ended());
    let look = format!("{} from {started}, {MARK} marks what is to blame", span(report.lasted));
    let drawn = match (Flame::live(finding), Flame::growth(finding)) {
        // the larger part by far was not seen by probes: no allocator that is known is behind it
        (Some(live), Some(growth)) if live.bytes < growth.bytes / 2 => Some((growth, TOUCHED)),
        (Some(live), _) => Some((live, ALLOCATED)),
        (None, growth) => growth.map(|growth| (growth, TOUCHED)),
    };
    let Some((mut flame, (what, how))) = drawn else { return Ok(NOTHING.to_owned()) };
    flame.page(&format!("{who}: {} {what}", size(flame.bytes)), &format!("{look}{how}"))
}
