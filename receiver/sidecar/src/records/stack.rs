//! A stack as text.

use mlh_stacks::names::brief;
use mlh_stacks::trace::{Frame, Trace};

use super::words::{last, printable};

/// Characters of a name or a path: instances of templates have names without end.
const LONGEST_NAME: usize = 400;
/// Frames of a stack that are told.
pub(super) const MOST_FRAMES: usize = 64;
/// A stack is one attribute, and log stores cut or refuse long ones. Bytes, with what is said of the rest.
const LONGEST_STACK: usize = 16 * 1024;
/// Bytes of these, for what is said of the rest.
const LONGEST_END: usize = 256;
/// The last line begins with it.
const ELLIPSIS: &str = "... ";

/// One frame a line, innermost first: `function (file:line) [module+0xoffset]`. The last line says how many frames are left out, and
/// why the stack ends early.
pub(super) fn lines(trace: &Trace) -> String {
    let mut text = String::new();
    let mut told = 0;
    for frame in trace.frames.iter().take(MOST_FRAMES) {
        let place = place(frame);
        // what is in no file has brackets of its own
        let place = if place.starts_with('[') { place } else { format!("[{place}]") };
        let line = format!("{} {place}\n", named(frame));
        if text.len() + line.len() > LONGEST_STACK - LONGEST_END {
            break;
        }
        text.push_str(&line);
        told += 1;
    }
    let left = trace.frames.len() - told;
    match rest((left > 0).then(|| format!("and {left} more")), trace) {
        Some(rest) => text.extend([ELLIPSIS, &rest]),
        None => text.truncate(text.trim_end().len()),
    }
    text
}

/// What is said of a stack behind its frames: those that are `left` out, and why it ends early. Of bounded length and on one line.
pub(super) fn rest(left: Option<String>, trace: &Trace) -> Option<String> {
    let rest: Vec<_> = left.into_iter().chain(trace.incomplete.as_deref().map(printable)).collect();
    (!rest.is_empty()).then(|| short(rest.join("; "), LONGEST_END - ELLIPSIS.len()))
}

/// The same for the same stack everywhere, as reports write it.
pub(super) fn hash(trace: &Trace) -> String {
    format!("{:016x}", trace.hash)
}

/// A function's name, of bounded length and on one line.
pub(super) fn name(function: &str) -> String {
    first(&printable(function), LONGEST_NAME)
}

/// The path of a source file, of bounded length and on one line: its end says more than its beginning.
pub(super) fn file(path: &str) -> String {
    last(&printable(path), LONGEST_NAME)
}

/// `function (file:line)`, as far as it is known.
pub(super) fn named(frame: &Frame) -> String {
    let Some(function) = &frame.function else { return place(frame) };
    let function = name(&brief(function));
    match (frame.file.as_deref().map(file), frame.line) {
        (Some(file), Some(line)) => format!("{function} ({file}:{line})"),
        (Some(file), None) => format!("{function} ({file})"),
        (None, _) => function,
    }
}

/// The frame to blame, and the library without names that it calls, where most is done there: `store (app.js:29) through sum.node`.
pub(super) fn blamed(trace: &Trace) -> Option<String> {
    let who = named(trace.culprit_frame()?);
    Some(match trace.nameless_library() {
        Some(library) => format!("{who} through {}", name(base_name(library))),
        None => who,
    })
}

/// `module+0xoffset`, the module by its base name.
fn place(frame: &Frame) -> String {
    format!("{}+{:#x}", name(base_name(&frame.module)), frame.offset)
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// At most so many characters.
fn first(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// At most so many bytes, with what stands for the rest.
fn short(mut text: String, most: usize) -> String {
    const REST: char = '…';
    if text.len() <= most {
        return text;
    }
    let most = most.saturating_sub(REST.len_utf8());
    let end =
        text.char_indices().map(|(at, char)| at + char.len_utf8()).take_while(|end| *end <= most).last();
    text.truncate(end.unwrap_or(0));
    text.push(REST);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: Option<&str>, line: Option<u32>) -> Frame {
        Frame {
            function: function.map(str::to_owned),
            module: "/usr/bin/api".to_owned(),
            offset: 0x1a2b,
            file: line.map(|_| "session.cc".to_owned()),
            line,
            ..Frame::default()
        }
    }

    /// Guarantees: a frame tells all that is known of it, one without a name where it is; what is hostile in a name
    /// stays on its line; a stack that ends early says why.
    #[test]
    fn frames_as_lines() {
        let made = Frame { module: "[anon]".to_owned(), ..frame(Some("serve"), None) };
        let frames = vec![
            frame(Some("Session::\nremember"), Some(88)),
            frame(Some("main"), None),
            frame(None, None),
            made,
        ];
        let trace = Trace { frames, incomplete: Some("the copy ends".to_owned()), ..Trace::default() };
        let expected = "Session::?remember (session.cc:88) [api+0x1a2b]\nmain [api+0x1a2b]\napi+0x1a2b [api+0x1a2b]\n\
                        serve [anon]+0x1a2b\n... the copy ends";
        assert_eq!(lines(&trace), expected);
    }

    /// Guarantees: who is to blame is told with the library without names that he calls, and alone where there is none; nobody is told
    /// where nobody is to blame.
    #[test]
    fn through_a_library() {
        let library = Frame { module: "/usr/lib/libsum.so.1".to_owned(), ..frame(None, None) };
        let frames = vec![library, frame(Some("store"), Some(88))];
        let told = |culprit| blamed(&Trace { frames: frames.clone(), culprit, ..Trace::default() });
        assert_eq!(told(Some(1)).as_deref(), Some("store (session.cc:88) through libsum.so.1"));
        assert_eq!(told(Some(0)).as_deref(), Some("libsum.so.1+0x1a2b"));
        assert_eq!(told(None), None);
    }

    /// Guarantees: neither long names nor many frames nor a long reason make a stack of any size: at most 64 frames and
    /// 16 KiB are told, in whole lines, and how many frames are missing; the reason for a stack's end stands there also then,
    /// whole up to 250 bytes.
    #[test]
    fn bounds() {
        let told = |name: &str, count: usize, incomplete: Option<String>| {
            let trace =
                Trace { frames: vec![frame(Some(name), Some(7)); count], incomplete, ..Trace::default() };
            let text = lines(&trace);
            assert!(text.len() <= LONGEST_STACK, "{}", text.len());
            text
        };
        let deep = told("f", 200, None);
        assert_eq!((deep.lines().count(), deep.lines().last()), (65, Some("... and 136 more")));
        assert_eq!(told("f", 64, None).lines().count(), 64);
        let wide = told(&"é".repeat(10_000), 64, None);
        let frames = wide.lines().count() - 1;
        assert_eq!(wide.lines().last().unwrap(), format!("... and {} more", 64 - frames));
        assert!(wide.lines().take(frames).all(|line| line.ends_with("[api+0x1a2b]")) && frames > 15);
        let reason = "é".repeat(125);
        let end = |count, reason: &str| {
            told("f", count, Some(reason.to_owned())).lines().last().map(str::to_owned).unwrap()
        };
        assert_eq!(end(3, &reason), format!("... {reason}"));
        assert_eq!(end(200, &reason[..200]), format!("... and 136 more; {}", &reason[..200]));
        let longer = end(200, &"é".repeat(1000));
        assert!(longer.starts_with("... and 136 more; éé") && longer.ends_with("é…"), "{longer}");
        assert!((LONGEST_END - 3..=LONGEST_END).contains(&longer.len()), "{}", longer.len());
    }

    /// Guarantees: of a path of any length at most 400 characters are told, its end.
    #[test]
    fn long_paths() {
        let deep =
            Frame { file: Some(format!("{}/session.cc", "/é".repeat(5000))), ..frame(Some("f"), Some(7)) };
        let told = named(&deep);
        assert!(told.starts_with("f (…") && told.ends_with("/é/session.cc:7)"), "{told}");
        assert_eq!(told.chars().count(), "f (".len() + LONGEST_NAME + ":7)".len());
    }
}
