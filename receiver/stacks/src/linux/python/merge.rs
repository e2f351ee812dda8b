//! What Python was running, in the place of the interpreter's functions that ran it.

use super::Line;
use crate::python::MODULE;
use crate::trace::Frame;

/// The functions that run Python code, one for each time that the interpreter is entered: beginnings of their names.
const LOOPS: &[&str] = &["_PyEval_EvalFrameDefault", "_TAIL_CALL_"];

/// Functions of the interpreter by which one thing calls another, and that tell nothing: whole names.
const CALLS: &[&str] = &[
    "PyEval_EvalFrame",
    "PyEval_EvalFrameEx",
    "PyEval_EvalCodeEx",
    "_PyEval_EvalFrame",
    "_PyEval_EvalCode",
    "_PyEval_EvalCodeWithName",
    "_PyEval_Vector",
    "function_code_fastcall",
    "call_function",
    "do_call_core",
    "type_call",
    "object_vacall",
    "gen_send_ex",
    "gen_send_ex2",
    "gen_iternext",
    "PyIter_Send",
    "PyGen_Send",
    "lookup_maybe_method",
];
/// Beginnings of such names.
const CALL_FAMILIES: &[&str] = &[
    "_PyFunction_Vectorcall",
    "_PyFunction_FastCall",
    "PyObject_Call",
    "_PyObject_Call",
    "PyObject_Vectorcall",
    "_PyObject_Vectorcall",
    "_PyObject_FastCall",
    "_PyObject_MakeTpCall",
    "PyVectorcall_",
    "_PyVectorcall_",
    "_PyCFunction_",
    "_PyMethodDef_",
    "cfunction_",
    "method_vectorcall",
    "vectorcall_",
    "call_method",
    "call_unbound",
    "slot_",
];

/// Puts `lines`, innermost first, in the place of the functions that ran them. They end where the interpreter was entered from C: so
/// many belong to one such function. What has no such function, because the stack ends before it, comes last. Leaves at most `most`
/// frames, inlined ones not counted, and says why there are no more.
pub(crate) fn merge(
    frames: Vec<Frame>,
    lines: &[Line],
    incomplete: Option<String>,
    most: usize,
) -> (Vec<Frame>, Option<String>) {
    let Some(interpreter) = frames.iter().find(|frame| is_loop(frame)).map(|frame| frame.module.clone())
    else {
        let address = frames.last().map_or(0, |frame| frame.address);
        let frames = frames.into_iter().chain(lines.iter().map(|line| line.frame(address))).collect();
        return cut(frames, incomplete, most);
    };
    let mut groups = lines.split_inclusive(|line| line.is_entry);
    let mut merged: Vec<Frame> = Vec::with_capacity(frames.len() + lines.len());
    // what is left over goes behind the last of them, unless the stack ends before
    let (mut behind, mut last) = (0, 0);
    let mut unknown = false;
    for frame in frames {
        if !is_loop(&frame) {
            if frame.module != interpreter || !is_call(&frame) {
                merged.push(frame);
            }
            continue;
        }
        last = frame.address;
        if let Some(group) = groups.next() {
            // what was inlined into the function goes with it
            while merged.last().is_some_and(|last| last.inlined && last.address == frame.address) {
                merged.pop();
            }
            merged.extend(group.iter().map(|line| line.frame(frame.address)));
        } else {
            unknown = true;
            merged.push(frame);
        }
        behind = merged.len();
    }
    if incomplete.is_some() {
        behind = merged.len();
    }
    merged.splice(behind..behind, groups.flatten().map(|line| line.frame(last)).collect::<Vec<_>>());
    // the outermost frame of a thread is one for which the interpreter was entered
    let has_end = !unknown && lines.last().is_none_or(|line| line.is_entry);
    let more = || format!("Python was running more than {} functions there", lines.len());
    cut(merged, incomplete.or_else(|| (!has_end).then(more)), most)
}

fn cut(mut frames: Vec<Frame>, incomplete: Option<String>, most: usize) -> (Vec<Frame>, Option<String>) {
    let last = frames.iter().enumerate().filter(|(_, frame)| !frame.inlined).nth(most.saturating_sub(1));
    let Some((last, _)) = last.filter(|(last, _)| last + 1 < frames.len()) else {
        return (frames, incomplete);
    };
    frames.truncate(last + 1);
    (frames, Some(format!("it has more than {most} frames")))
}

fn is_loop(frame: &Frame) -> bool {
    frame.function.as_deref().is_some_and(|name| LOOPS.iter().any(|it| name.starts_with(it)))
}

fn is_call(frame: &Frame) -> bool {
    // `.part.0`, `.cold`, ` [clone .isra.0]`
    let plain = |name: &str| name.split(['.', ' ']).next().unwrap_or_default().to_owned();
    frame.function.as_deref().map(plain).is_some_and(|name| {
        CALLS.contains(&name.as_str()) || CALL_FAMILIES.iter().any(|family| name.starts_with(family))
    })
}

impl Line {
    /// Hands over what tells it from others of the same process.
    pub(crate) fn identify(&self, hand: impl FnMut(&[u8])) {
        self.hand_over(self.file.as_deref().unwrap_or_default(), hand);
    }

    /// Hands over what tells it from others, in every process that runs the same files, wherever they are installed.
    pub(crate) fn identify_anywhere(&self, hand: impl FnMut(&[u8])) {
        self.hand_over(installed_name(self.file.as_deref().unwrap_or_default()), hand);
    }

    fn hand_over(&self, file: &str, mut hand: impl FnMut(&[u8])) {
        hand(file.as_bytes());
        hand(self.function.as_bytes());
        hand(&self.line.unwrap_or_default().to_le_bytes());
    }

    /// In the place of a function that goes on at `address`.
    fn frame(&self, address: u64) -> Frame {
        Frame {
            address,
            function: Some(self.function.to_string()),
            module: MODULE.to_owned(),
            offset: self.offset,
            file: self.file.as_deref().map(str::to_owned),
            line: self.line,
            ..Frame::default()
        }
    }
}

/// What a file is called wherever Python is installed: the part behind the folder of packages, or of the standard library; else its
/// base name.
fn installed_name(file: &str) -> &str {
    let package = ["/site-packages/", "/dist-packages/"].iter().find_map(|folder| file.rsplit_once(folder));
    let library = || {
        let (_, behind) = ["/lib/python3.", "/lib64/python3."].iter().find_map(|it| file.split_once(it))?;
        let (minor, name) = behind.split_once('/')?;
        minor.bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some(name)
    };
    let inside = package.map(|(_, name)| name).or_else(library);
    inside.unwrap_or_else(|| file.rsplit('/').next().unwrap_or(file))
}

#[cfg(test)]
mod tests;
