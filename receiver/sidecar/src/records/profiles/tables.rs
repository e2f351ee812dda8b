//! Stacks as entries of a dictionary.

use std::collections::HashMap;

use mlh_pipeline::data::Dictionary;
use mlh_stacks::python;
use mlh_stacks::trace::{Frame, Trace};
use mlh_targets::points::Runtime;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, Line, Location, Mapping, ProfilesDictionary,
};

use crate::records::stack::{self, MOST_FRAMES};
use crate::records::words::printable;
use crate::semconv;

/// Indices of a stack, and of the attributes of its sample.
pub(super) type Indices = (i32, Vec<i32>);

/// A dictionary that knows stacks.
#[derive(Default)]
pub(super) struct Tables {
    dictionary: Dictionary,
    /// Of the process whose stacks come next.
    runtime: Runtime,
    /// A stack is the same for each kind of value.
    samples: HashMap<(u64, &'static str), Indices>,
}

impl Tables {
    /// What runs in the process whose stacks come next.
    pub(super) fn runs(&mut self, runtime: Runtime) {
        if runtime != self.runtime {
            self.samples.clear();
        }
        self.runtime = runtime;
    }

    pub(super) fn string(&mut self, text: &str) -> i32 {
        self.dictionary.string(text)
    }

    /// A stack and the attributes of its sample.
    pub(super) fn sample(&mut self, trace: &Trace, operation: &'static str) -> Indices {
        if let Some(known) = self.samples.get(&(trace.hash, operation)) {
            return known.clone();
        }
        let mut attributes = vec![self.text(semconv::STACK_HASH, &stack::hash(trace))];
        if !operation.is_empty() {
            attributes.push(self.text(semconv::OPERATION, operation));
        }
        let left = trace.frames.len().saturating_sub(MOST_FRAMES);
        let cut = (left > 0).then(|| format!("{left} more frames are left out"));
        if let Some(rest) = stack::rest(cut, trace) {
            attributes.push(self.text(semconv::STACK_INCOMPLETE, &rest));
        }
        let new = (self.stack(trace), attributes);
        self.samples.insert((trace.hash, operation), new.clone());
        new
    }

    fn stack(&mut self, trace: &Trace) -> i32 {
        let frames = &trace.frames[..trace.frames.len().min(MOST_FRAMES)];
        // what was inlined somewhere is told with the function that it was inlined into
        let places = frames.split_inclusive(|frame| !frame.inlined);
        let locations = places.map(|place| self.location(place)).collect();
        self.dictionary.stack(locations)
    }

    /// One place in the code: the functions that were inlined there, and the one that they were inlined into.
    fn location(&mut self, place: &[Frame]) -> i32 {
        let Some(frame) = place.last() else { return 0 };
        // where nothing is known to be mapped there is no file to count in
        let (mapping_index, address) = if frame.module == "[unknown]" {
            (0, frame.address)
        } else {
            (self.mapping(frame), frame.offset)
        };
        let frame_type = self.text(semconv::PROFILE_FRAME_TYPE, frame_type(frame, self.runtime));
        let mut lines = Vec::new();
        for frame in place {
            lines.extend(self.line(frame));
        }
        let attribute_indices = vec![frame_type];
        self.dictionary.location(Location { mapping_index, address, lines, attribute_indices })
    }

    fn mapping(&mut self, frame: &Frame) -> i32 {
        let filename_strindex = self.string(&printable(&frame.module));
        let build_id = frame.build_id.as_deref();
        let build_id = build_id.map(|id| self.text(semconv::PROCESS_EXECUTABLE_BUILD_ID_GNU, id));
        let attribute_indices = build_id.into_iter().collect();
        self.dictionary.mapping(Mapping { filename_strindex, attribute_indices, ..Mapping::default() })
    }

    /// Nothing without a name: the address says where it is.
    fn line(&mut self, frame: &Frame) -> Option<Line> {
        let name_strindex = self.string(&stack::name(frame.function.as_deref()?));
        let filename_strindex = self.string(&frame.file.as_deref().map(stack::file).unwrap_or_default());
        let function = Function { name_strindex, filename_strindex, ..Function::default() };
        let function_index = self.dictionary.function(function);
        Some(Line { function_index, line: i64::from(frame.line.unwrap_or(0)), column: 0 })
    }

    fn text(&mut self, key: &str, text: &str) -> i32 {
        self.dictionary.attribute(key, AnyValue { value: Some(Value::StringValue(text.to_owned())) })
    }
}

impl From<Tables> for ProfilesDictionary {
    fn from(tables: Tables) -> Self {
        tables.dictionary.into()
    }
}

/// What made the code, in the words of the semantic conventions.
fn frame_type(frame: &Frame, runtime: Runtime) -> &'static str {
    let suffix = frame.file.as_deref().and_then(|file| file.rsplit_once('.')).map(|(_, suffix)| suffix);
    match (suffix, runtime) {
        _ if frame.module == python::MODULE => "cpython",
        (Some("go"), _) => "go",
        (Some("rs"), _) => "rust",
        // code without a file was made by what runs there
        (_, Runtime::Node) if frame.module == "[anon]" => "v8js",
        (_, Runtime::Jvm) if frame.module == "[anon]" => "jvm",
        (_, Runtime::Dotnet) if frame.module == "[anon]" => "dotnet",
        _ => "native",
    }
}
