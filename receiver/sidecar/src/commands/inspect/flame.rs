//! Flame graphs: `inferno` lays out and draws what is folded here.
//!
//! A frame is a function at a line. It has the colour of its module, which is the same in every report, and a mark where
//! it is to blame. Names come from the target's files: nothing in them may end a frame, a line or an element.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;

use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{self, Direction, Options, TextTruncateDirection};
use mlh_detect::growth_stacks::Pattern;
use mlh_stacks::trace::{Frame, Trace};

use super::by_page::is_by_page;
use super::finding::{Finding, base_name, name, place};
use crate::records::words::printable;

/// Before the name of a function that is to blame.
pub(super) const MARK: char = '▶';
/// Of a name, in characters. Instances of templates have names without end.
const LONGEST: usize = 240;
/// Of one stack: what many of them add up to has room in 64 bits, whatever the kernel's tables say.
const MOST: u64 = 1 << 48;
/// What is to blame stands out from every module.
const BLAMED: Color = Color { r: 240, g: 112, b: 88 };
/// What is no function.
const GREY: Color = Color { r: 200, g: 200, b: 200 };
/// Where `inferno`'s output has the frames, after its own title, style and script.
const FRAMES: &str = "<svg id=\"frames\"";

/// One stack of the graph.
struct Branch<'a> {
    pid: u32,
    trace: &'a Trace,
    bytes: u64,
    /// Its culprit is to be marked.
    blamed: bool,
}

/// Stacks, folded.
pub(super) struct Flame {
    lines: Vec<String>,
    colours: PaletteMap,
    /// That the graph stands for.
    pub(super) bytes: u64,
}

/// What was drawn, for a page of others: an element that takes the width it is given.
pub(super) struct Drawing {
    pub(super) element: String,
    /// Pixels.
    pub(super) height: usize,
}

impl Flame {
    /// What the living have allocated and not freed, as far as probes have seen it. `None` where that is nothing.
    pub(super) fn live(finding: &Finding<'_>) -> Option<Self> {
        let stacks = finding.report.stacks.iter().filter(|stack| !stack.gone && !is_by_page(stack));
        let branches = stacks.map(|stack| Branch {
            pid: stack.pid,
            trace: &stack.trace,
            bytes: stack.live_bytes,
            blamed: finding.survives(stack),
        });
        Self::of(finding, branches.collect())
    }

    /// Who touched the memory that is still there. `None` where nobody looked.
    pub(super) fn growth(finding: &Finding<'_>) -> Option<Self> {
        let stacks = finding.report.growth.iter();
        let branches = stacks.map(|stack| Branch {
            pid: stack.pid,
            trace: &stack.trace,
            bytes: stack.figures.bytes,
            blamed: stack.figures.pattern == Pattern::Steady,
        });
        Self::of(finding, branches.collect())
    }

    fn of(finding: &Finding<'_>, mut branches: Vec<Branch<'_>>) -> Option<Self> {
        branches.retain(|branch| branch.bytes > 0);
        if !branches.iter().any(|branch| branch.blamed)
            && let Some(largest) = branches.iter_mut().max_by_key(|branch| branch.bytes)
        {
            largest.blamed = true;
        }
        let blamed: HashSet<String> = branches
            .iter()
            .filter(|branch| branch.blamed)
            .filter_map(|branch| branch.trace.culprit_frame())
            .map(label)
            .collect();
        let names: HashMap<u32, String> =
            finding.report.members.iter().map(|member| (member.pid, one_label(&name(member)))).collect();
        let several = names.values().collect::<BTreeSet<_>>().len() > 1;
        let mut flame = Self { lines: Vec::new(), colours: PaletteMap::default(), bytes: 0 };
        // what all have in common has no name
        flame.colours.insert("", GREY);
        for branch in &branches {
            let root = names.get(&branch.pid).filter(|_| several);
            flame.grow(branch, root, &blamed);
        }
        (flame.bytes > 0).then_some(flame)
    }

    fn grow(&mut self, branch: &Branch<'_>, root: Option<&String>, blamed: &HashSet<String>) {
        let mut path: Vec<String> = Vec::with_capacity(branch.trace.frames.len() + 2);
        let plain = |text: &str| (text.to_owned(), GREY);
        let process = root.map(|name| (name.clone(), GREY));
        let cut = branch.trace.incomplete.as_ref().map(|_| plain("(the rest of the stack is not known)"));
        let nothing = branch.trace.frames.is_empty().then(|| plain("(no stack)"));
        let frames = branch.trace.frames.iter().rev().map(|frame| {
            let label = label(frame);
            if blamed.contains(&label) {
                (format!("{MARK} {label}"), BLAMED)
            } else {
                (label, colour(base_name(&frame.module)))
            }
        });
        for (label, colour) in process.into_iter().chain(cut).chain(nothing).chain(frames) {
            self.colours.insert(&label, colour);
            path.push(label);
        }
        let bytes = branch.bytes.min(MOST);
        self.bytes = self.bytes.saturating_add(bytes);
        self.lines.push(format!("{} {bytes}", path.join(";")));
    }

    /// A file of its own, that can be zoomed and searched.
    pub(super) fn page(&mut self, title: &str, subtitle: &str) -> io::Result<String> {
        self.draw(|options| {
            options.title = one_label(title);
            options.subtitle = Some(one_label(subtitle));
        })
    }

    /// For a page of others: the frames alone, without style and script.
    pub(super) fn drawing(&mut self) -> io::Result<Drawing> {
        let file = self.draw(|options| options.direction = Direction::Inverted)?;
        let frames = file.split_once(FRAMES).and_then(|(_, rest)| rest.split_once("</svg>"));
        let (frames, _) = frames.ok_or_else(|| io::Error::other("the flame graph has no frames"))?;
        let inner = frames.split_once('>').map_or(frames, |(_, inner)| inner);
        let (top, bottom) = bounds(inner);
        let height = bottom.saturating_sub(top) + 1;
        let element = format!("<svg y=\"-{top}\" width=\"100%\" overflow=\"visible\">{inner}</svg>");
        Ok(Drawing { element, height })
    }

    fn draw(&mut self, set: impl FnOnce(&mut Options<'_>)) -> io::Result<String> {
        let mut options = Options::default();
        set(&mut options);
        options.count_name = "bytes".to_owned();
        options.name_type = "Function:".to_owned();
        options.bgcolors = Some(BackgroundColor::Flat(Color { r: 255, g: 255, b: 255 }));
        options.text_truncate_direction = TextTruncateDirection::Right;
        options.deterministic = true;
        options.palette_map = Some(&mut self.colours);
        let mut file = Vec::new();
        flamegraph::from_lines(&mut options, self.lines.iter().map(String::as_str), &mut file)?;
        String::from_utf8(file).map_err(io::Error::other)
    }
}

/// Where the frames begin and end, in pixels from the top.
fn bounds(frames: &str) -> (usize, usize) {
    let of = |rect: &str, name: &str| {
        let (_, rest) = rect.split_once(&format!(" {name}=\""))?;
        rest.split_once('"')?.0.parse::<usize>().ok()
    };
    let rects = frames.split("<rect").skip(1);
    let spans = rects.filter_map(|rect| Some((of(rect, "y")?, of(rect, "height")?)));
    let spans = spans.map(|(y, height)| (y, y + height));
    spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default()
}

fn label(frame: &Frame) -> String {
    one_label(&place(frame))
}

/// Text that stays one frame of one line, that XML can hold, and that reads from left to right.
fn one_label(text: &str) -> String {
    let shown = |char| match char {
        // looks the same and ends nothing
        ';' => '\u{37e}',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => '?',
        char => char,
    };
    let text = printable(text);
    let mut label: String = text.trim().chars().map(shown).take(LONGEST).collect();
    if text.trim().chars().nth(LONGEST).is_some() {
        label.push('…');
    }
    // a number behind the last space would be taken for a count
    if let Some((before, after)) = label.rsplit_once(' ')
        && after.chars().all(|char| char.is_ascii_digit() || char == '.')
    {
        label = format!("{before}\u{a0}{after}");
    }
    // such a line would be a comment, and nothing no frame
    match label.strip_prefix('#') {
        Some(rest) => format!("?{rest}"),
        None if label.is_empty() => "?".to_owned(),
        None => label,
    }
}

/// Pale, so that a name can be read on it; of the same name always the same.
fn colour(module: &str) -> Color {
    // FNV-1a: the hash of the standard library may change
    let hash = module.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // green to violet: red is for what is to blame
    let hue = 60.0 + ((hash >> 16) % 240) as f64;
    let light = 0.74 + ((hash >> 8) % 8) as f64 / 100.0;
    let reach = 0.55 * (1.0 - (2.0 * light - 1.0).abs());
    let channel = |offset: f64| {
        let k = (offset + hue / 30.0) % 12.0;
        let value = light - reach / 2.0 * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
        (value * 255.0).round().clamp(0.0, 255.0) as u8
    };
    Color { r: channel(0.0), g: channel(8.0), b: channel(4.0) }
}
