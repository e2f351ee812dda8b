//! The kinds of memory that readings tell of, each with its own history.

use std::time::Duration;

use super::thin;
use crate::history::Point;
use crate::work::Work;

/// Kinds that are followed: those with the most bytes.
const MAX_CLASSES: usize = 128;

/// Readings of a kind that are kept.
const MAX_POINTS: usize = 32;

/// Of a name so much is kept, bytes.
const MAX_NAME: usize = 256;

/// One kind.
#[derive(Debug, Clone)]
struct Class {
    name: String,
    points: Vec<Point>,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Classes(Vec<Class>);

impl Classes {
    /// Takes what a reading says of them. A kind that it does not tell keeps what is known; one that has not been told for
    /// `horizon` is forgotten.
    pub(super) fn note(&mut self, at: Duration, told: &[(&str, u64, u64)], horizon: Duration) {
        let at_s = at.as_secs_f64();
        let oldest = at_s - horizon.as_secs_f64();
        for class in &mut self.0 {
            class.points.retain(|point| point.at_s >= oldest);
        }
        self.0.retain(|class| !class.points.is_empty());
        for (name, bytes, _) in told {
            let name = bounded(name);
            let point = Point { at_s, bytes: *bytes as f64, work: Work::default() };
            match self.0.iter_mut().find(|class| class.name == name) {
                // one name for two of them: together they are one kind
                Some(Class { points, .. }) if points.last().is_some_and(|last| last.at_s == at_s) => {
                    if let Some(last) = points.last_mut() {
                        last.bytes += point.bytes;
                    }
                }
                Some(class) => {
                    if class.points.len() >= MAX_POINTS {
                        thin(&mut class.points);
                    }
                    class.points.push(point);
                }
                None => self.add(Class { name: name.to_owned(), points: vec![point] }),
            }
        }
    }

    /// Takes what a reading says after the same collection as the last: of each the lower counts.
    pub(super) fn lower(&mut self, told: &[(&str, u64, u64)]) {
        for (name, bytes, _) in told {
            let class = self.0.iter_mut().find(|class| class.name == bounded(name));
            if let Some(last) = class.and_then(|class| class.points.last_mut()) {
                last.bytes = last.bytes.min(*bytes as f64);
            }
        }
    }

    /// In the place of the smallest, where there is no room.
    fn add(&mut self, class: Class) {
        let size = |class: &Class| class.points.last().map_or(0.0, |point| point.bytes);
        if self.0.len() < MAX_CLASSES {
            self.0.push(class);
        } else if let Some(smallest) = self.0.iter_mut().min_by(|a, b| size(a).total_cmp(&size(b)))
            && size(smallest) < size(&class)
        {
            *smallest = class;
        }
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (&str, &[Point])> {
        self.0.iter().map(|class| (class.name.as_str(), class.points.as_slice()))
    }
}

/// What of a name is kept.
fn bounded(name: &str) -> &str {
    let end = (0..=name.len().min(MAX_NAME)).rev().find(|end| name.is_char_boundary(*end));
    &name[..end.unwrap_or(0)]
}
