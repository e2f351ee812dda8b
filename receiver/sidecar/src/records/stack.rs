//! A stack as text.

use mlh_stacks::trace::{Frame, Trace};

use super::words::printable;

/// Instances of templates have names without end.
const LONGEST_NAME: usize = 400;
/// A stack is one attribute, and collectors cut long ones.
const LONGEST_STACK: usize = 16 * 1024;

/// One frame a line, innermost first: `function (file:line) [module+0xoffset]`.
pub(super) fn lines(trace: &Trace) -> String {
    let mut text = String::new();
    for (index, frame) in trace.frames.iter().enumerate() {
        let line = format!("{} [{}]", named(frame), place(frame));
        if text.len() + line.len() > LONGEST_STACK {
            text.push_str(&format!("... and {} more", trace.frames.len() - index));
            return text;
        }
        if index > 0 {
            text.push('\n');
        }
        text.push_str(&line);
    }
    if let Some(reason) = &trace.incomplete {
        text.push_str(&format!("\n... {}", printable(reason)));
    }
    text
}

/// `function (file:line)`, as far as it is known.
pub(super) fn named(frame: &Frame) -> String {
    let Some(function) = &frame.function else { return place(frame) };
    let function = shortened(&printable(function));
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("{function} ({}:{line})", printable(file)),
        (Some(file), None) => format!("{function} ({})", printable(file)),
        (None, _) => function,
    }
}

/// `module+0xoffset`, the module by its base name.
fn place(frame: &Frame) -> String {
    let module = frame.module.rsplit('/').next().unwrap_or_default();
    format!("{}+{:#x}", printable(module), frame.offset)
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= LONGEST_NAME {
        return name.to_owned();
    }
    name.chars().take(LONGEST_NAME - 1).chain(['…']).collect()
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
        let frames =
            vec![frame(Some("Session::\nremember"), Some(88)), frame(Some("main"), None), frame(None, None)];
        let trace = Trace { frames, incomplete: Some("the copy ends".to_owned()), ..Trace::default() };
        let expected = "Session::?remember (session.cc:88) [api+0x1a2b]\nmain [api+0x1a2b]\napi+0x1a2b [api+0x1a2b]\n\
                        ... the copy ends";
        assert_eq!(lines(&trace), expected);
    }

    /// Guarantees: neither a long name nor a long stack makes a record of any size.
    #[test]
    fn bounds() {
        let frames = vec![frame(Some(&"x".repeat(10_000)), None); 1000];
        let text = lines(&Trace { frames, ..Trace::default() });
        assert!(text.len() <= LONGEST_STACK + 100 && text.ends_with(" more"), "{}", text.len());
    }
}
