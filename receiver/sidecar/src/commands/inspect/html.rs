//! The report as one page for a browser: nothing is loaded from elsewhere, and nothing runs but the page's own script.
//!
//! `maud` escapes whatever is no markup of ours, and the page's own policy forbids what might slip through: names of functions
//! and files are the target's to choose. In reading order: [`chart`] is memory over time, [`stacks`] and [`growth`] are the
//! tables, [`about`] is the rest.

mod chart;
mod stacks;
mod growth;
mod about;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::by_page::is_by_page;
use super::finding::{Finding, name};
use super::flame::{Drawing, Flame, MARK};
use super::verdict::Kind;
use crate::records::words::{printable, size};

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// The whole page. `nonce`: a word that nobody can have foreseen; `top`: stacks in the table.
pub(super) fn render(finding: &Finding<'_>, top: usize, nonce: &str) -> std::io::Result<String> {
    let live = drawn(Flame::live(finding))?;
    let growth = drawn(Flame::growth(finding))?;
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'"
    );
    let who = finding.leader().map_or_else(|| printable(&finding.target.to_string()), name);
    let (kind, verdict) = match finding.verdict.kind {
        Kind::Leak => ("leak", "Leak"),
        Kind::Growing => ("growing", "Growing"),
        Kind::Calm => ("calm", "Calm"),
        Kind::Unknown => ("unknown", "Not known"),
    };
    // pages lead where they tell more than the probes do
    let leads = finding.report.stacks.iter().any(is_by_page);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (who) ": " (verdict.to_lowercase()) " - Memory Leak Hunter" }
                style nonce=(nonce) { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.product { "Memory Leak Hunter" }
                    p class={ "verdict " (kind) } { (verdict) }
                    h1 { (finding.sentence()) }
                    @for remark in finding.remarks() { p.remark { (remark) } }
                }
                main {
                    (about::look(finding))
                    (chart::section(finding))
                    @if leads { (growth::section(finding, top)) }
                    (stacks::section(finding, top))
                    @if !leads { (growth::section(finding, top)) }
                    (graph(live.as_ref(), "live", "Flame graph: live bytes", "by the stack that allocated them"))
                    (graph(growth.as_ref(), "touched", "Flame graph: growth by page", "by the stack that touched the memory first"))
                    (about::members(finding))
                    (about::cost(finding))
                    (about::not_seen(finding))
                }
                footer { p { "memory-leak-hunter " (env!("CARGO_PKG_VERSION")) } }
                script nonce=(nonce) { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(page.into_string() + "\n")
}

/// A graph, and the bytes it stands for.
type Graph = (Drawing, u64);

fn drawn(flame: Option<Flame>) -> std::io::Result<Option<Graph>> {
    flame.map(|mut flame| Ok((flame.drawing()?, flame.bytes))).transpose()
}

fn graph(graph: Option<&Graph>, id: &str, title: &str, what: &str) -> Markup {
    html! {
        @if let Some((drawing, bytes)) = graph {
            section aria-labelledby={ "graph-" (id) } {
                h2 id={ "graph-" (id) } { (title) }
                p.note {
                    (size(*bytes)) " " (what) ", callers above callees; " span.mark { (MARK) }
                    " marks what is to blame. A click enlarges a frame, one on the topmost shows all again."
                }
                div.scroll tabindex="0" role="group" aria-label={ (title) ", scrolls sideways" } {
                    svg.flame role="img" aria-labelledby={ "graph-" (id) } width="100%" height=(drawing.height) {
                        (PreEscaped(&drawing.element))
                    }
                }
            }
        }
    }
}

/// A share as a bar.
fn bar(share: f64) -> Markup {
    let width = format!("{:.1}%", share.clamp(0.0, 1.0) * 100.0);
    html! { svg.bar width="100%" height="6" aria-hidden="true" { rect width=(width) height="6" {} } }
}
