//! Probe points into a process.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use mlh_bpf::alloc::heard::Slot;
use mlh_bpf::alloc::point::{Point, Role, Shape};
use mlh_stacks::modules::FileId;
use mlh_targets::points::{Family, Image, Points, Wish};

use super::plan::{Plan, Rung};
use super::tracer::Tracer;

/// What became of the points of a process.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Probes that are in place.
    pub(super) placed: usize,
    /// Allocators that have some.
    pub(super) allocators: BTreeSet<&'static str>,
    /// How they are placed.
    pub(super) placements: BTreeSet<&'static str>,
    /// Sentences on those that are not.
    pub(super) refused: Vec<String>,
}

/// What the probes of a look are to see.
pub(super) fn wish(plan: &Plan) -> Wish {
    let min = if plan.rung == Rung::Debug { 0 } else { plan.filters.min_allocation_size };
    Wish { min_allocation_size: min }
}

/// Places the probes of the files that have none yet.
pub(super) fn place(
    tracer: &mut dyn Tracer,
    slot: Slot,
    points: &Points,
    files: &mut HashSet<FileId>,
) -> Found {
    let mut found = Found::default();
    if let Err(reason) = tracer.wrappers(slot, &points.wrappers) {
        found
            .refused
            .push(format!("the callers of functions that pass allocations on are not told: {reason}"));
    }
    // a program that tells of its allocations by itself tells all of them
    let told = points.images.iter().any(|image| image.usdt);
    for image in points.images.iter().filter(|image| files.insert(image.file)) {
        if image.usdt {
            place_usdt(tracer, slot, image, &mut found);
        }
        let points: Vec<Point> =
            image.points.iter().filter(|point| !told || is_beside(point)).copied().collect();
        if !points.is_empty() {
            place_points(tracer, slot, image, &points, &mut found);
        }
    }
    found
}

fn place_usdt(tracer: &mut dyn Tracer, slot: Slot, image: &Image, found: &mut Found) {
    match tracer.attach_usdt(slot, &image.path) {
        Ok(()) => {
            found.placed += 2;
            found.placements.insert("usdt");
            found.allocators.insert("otel_memory");
        }
        Err(reason) => {
            let name = image.name.display();
            found
                .refused
                .push(format!("the probes that {name} offers (otel_memory) could not be used: {reason}"));
        }
    }
}

fn place_points(tracer: &mut dyn Tracer, slot: Slot, image: &Image, points: &[Point], found: &mut Found) {
    let name = image.name.display();
    match tracer.attach(slot, &image.path, points) {
        Ok(placed) => {
            found.placed += placed.placed;
            if placed.placed > 0 {
                found.allocators.insert(family(image.family));
                let refused: HashSet<&Point> = placed.refused.iter().map(|(point, _)| point).collect();
                let in_place = points.iter().filter(|point| !refused.contains(point));
                found.placements.extend(in_place.filter_map(|point| {
                    if image.gates.contains(&point.offset) { Some("gate") } else { placement(point) }
                }));
            }
            let mut reasons: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for (point, reason) in &placed.refused {
                reasons.entry(reason).or_default().insert(point.operation.name());
            }
            for (reason, operations) in reasons {
                let operations = operations.into_iter().collect::<Vec<_>>().join(", ");
                found.refused.push(format!("{operations} of {name} is not seen: {reason}"));
            }
        }
        Err(reason) => found.refused.push(format!("nothing of {name} is seen: {reason}")),
    }
}

/// What no `otel_memory` probe tells.
fn is_beside(point: &Point) -> bool {
    use Shape::{Advise, Break, LoadedCode, Map, Remap, Unmap};
    matches!(point.shape, Map | Unmap | Remap | Break | Advise | LoadedCode)
}

fn placement(point: &Point) -> Option<&'static str> {
    match (point.shape, point.role) {
        (Shape::LoadedCode, _) => None,
        (_, Role::AfterSyscall) => Some("syscall"),
        (_, Role::ReturnSite) => Some("return_site"),
        // in the middle of the function, where it leaves for its slow path
        _ if point.to_return_address > 0 => Some("inner"),
        _ if point.emulated => Some("entry"),
        _ => Some("entry_stepped"),
    }
}

fn family(family: Family) -> &'static str {
    match family {
        Family::Glibc => "glibc",
        Family::Musl => "musl",
        Family::Jemalloc => "jemalloc",
        Family::Tcmalloc => "tcmalloc",
        Family::Mimalloc => "mimalloc",
        Family::Mappings => "mappings",
        Family::Other => "other",
    }
}
