//! Profiles as text: the indices of their dictionary resolved. Pure.

use std::fmt::Write;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::profiles::v1development::{
    Location, Profile, ProfilesDictionary, Sample, ValueType,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::exporters::text::{printable, time, value};

/// Frames of a stack on one line.
const SHOWN: usize = 3;

/// A profile, with where it comes from.
type Placed<'a> = (Option<&'a Resource>, Option<&'a InstrumentationScope>, &'a Profile);

/// Every profile of a request.
pub(super) fn each(request: &ExportProfilesServiceRequest) -> impl Iterator<Item = Placed<'_>> {
    request.resource_profiles.iter().flat_map(|resource| {
        resource.scope_profiles.iter().flat_map(move |scope| {
            let origin = (resource.resource.as_ref(), scope.scope.as_ref());
            scope.profiles.iter().map(move |profile| (origin.0, origin.1, profile))
        })
    })
}

/// What the indices of a request stand for; one that leads nowhere for nothing.
pub(super) struct Names<'a>(Option<&'a ProfilesDictionary>);

impl<'a> Names<'a> {
    pub(super) fn of(request: &'a ExportProfilesServiceRequest) -> Self {
        Self(request.dictionary.as_ref())
    }

    fn entry<T>(&self, table: impl Fn(&'a ProfilesDictionary) -> &'a Vec<T>, index: i32) -> Option<&'a T> {
        table(self.0?).get(usize::try_from(index).ok()?)
    }

    fn text(&self, index: i32) -> &'a str {
        self.entry(|dictionary| &dictionary.string_table, index).map_or("", String::as_str)
    }

    fn value_type(&self, value_type: Option<&ValueType>) -> (&'a str, &'a str) {
        value_type.map_or(("", ""), |of| (self.text(of.type_strindex), self.text(of.unit_strindex)))
    }

    /// The frames of a sample, the innermost first; functions inlined at one place follow one another.
    fn frames(&self, sample: &Sample) -> Vec<String> {
        let stack = self.entry(|dictionary| &dictionary.stack_table, sample.stack_index);
        let indices = stack.into_iter().flat_map(|stack| &stack.location_indices);
        let locations =
            indices.filter_map(|index| self.entry(|dictionary| &dictionary.location_table, *index));
        locations.flat_map(|location| self.lines(location)).collect()
    }

    fn lines(&self, location: &Location) -> Vec<String> {
        let mapping = self.entry(|dictionary| &dictionary.mapping_table, location.mapping_index);
        let module = mapping.map_or("", |mapping| self.text(mapping.filename_strindex));
        let place = format!("{}+{:#x}", module.rsplit('/').next().unwrap_or_default(), location.address);
        if location.lines.is_empty() {
            return vec![printable(&place)];
        }
        let lines = location.lines.iter().map(|line| {
            let function = self.entry(|dictionary| &dictionary.function_table, line.function_index);
            let name = function.map_or("", |function| self.text(function.name_strindex));
            let file = function.map_or("", |function| self.text(function.filename_strindex));
            let source = match (file, line.line) {
                ("", _) => String::new(),
                (file, 0) => format!(" ({file})"),
                (file, line) => format!(" ({file}:{line})"),
            };
            printable(&format!("{name}{source} [{place}]"))
        });
        lines.collect()
    }
}

/// A profile in one line: what it counts, how much, and who has the most.
pub(super) fn line(out: &mut String, profile: &Profile, names: &Names<'_>) {
    let (what, unit) = names.value_type(profile.sample_type.as_ref());
    let total: i64 = profile.samples.iter().map(sum).fold(0, i64::saturating_add);
    let _ = write!(
        out,
        "{} PROF  {:<14}  {} samples, {total} {}",
        time(profile.time_unix_nano),
        printable(what),
        profile.samples.len(),
        printable(unit)
    );
    if let Some(most) = profile.samples.iter().max_by_key(|sample| sum(sample)) {
        let stack = names.frames(most).into_iter().take(SHOWN).collect::<Vec<_>>().join(" < ");
        let _ = write!(out, "; the most: {} by {stack}", sum(most));
    }
    out.push('\n');
}

/// All samples of a profile, each with its stack.
pub(super) fn samples(out: &mut String, profile: &Profile, names: &Names<'_>) {
    for sample in &profile.samples {
        let _ = write!(out, "    {}", sum(sample));
        for index in &sample.attribute_indices {
            if let Some(attribute) = names.entry(|dictionary| &dictionary.attribute_table, *index) {
                let key = names.text(attribute.key_strindex);
                let _ = write!(out, " {}={}", printable(key), printable(&value(attribute.value.as_ref())));
            }
        }
        out.push('\n');
        for frame in names.frames(sample) {
            let _ = writeln!(out, "        {frame}");
        }
    }
}

fn sum(sample: &Sample) -> i64 {
    sample.values.iter().copied().fold(0, i64::saturating_add)
}
