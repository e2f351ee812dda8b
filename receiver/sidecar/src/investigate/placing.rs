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
    if points.least > 0
        && let Err(reason) = tracer.least(slot, points.least)
    {
        found
            .refused
            .push(format!("blocks below {} bytes may be taken for live ones: {reason}", points.least));
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
    match tracer.attach_usdt(slot, &image.opened.path()) {
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
    match tracer.attach(slot, &image.opened.path(), points) {
        Ok(placed) => {
            found.placed += placed.placed;
            let refused: HashSet<&Point> = placed.refused.iter().map(|(point, _)| point).collect();
            for point in points.iter().filter(|point| !refused.contains(point)) {
                // the dynamic linker is no allocator
                let Some(how) = placement(image, point) else { continue };
                found.placements.insert(how);
                found.allocators.insert(family(image.family));
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

fn placement(image: &Image, point: &Point) -> Option<&'static str> {
    match (point.shape, point.role) {
        (Shape::LoadedCode, _) => None,
        _ if image.gates.contains(&point.offset) => Some("gate"),
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

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::path::PathBuf;

    use mlh_bpf::alloc::point::Operation;
    use mlh_targets::points::Opened;

    use super::*;
    use crate::investigate::testing::Kernel;

    fn point(offset: u64, operation: Operation, shape: Shape) -> Point {
        Point { offset, role: Role::Entry, shape, operation, emulated: true, to_return_address: 0 }
    }

    fn image(inode: u64, usdt: bool, points: Vec<Point>) -> Image {
        let (path, name) = (PathBuf::from("/proc/7/root/lib/a.so"), PathBuf::from("/lib/a.so"));
        let file = FileId { major: 1, minor: 2, inode };
        let opened = Opened::new(std::fs::File::open("/dev/null").unwrap());
        Image { path, name, opened, file, family: Family::Glibc, points, usdt, gates: vec![16] }
    }

    fn library() -> Vec<Point> {
        vec![
            point(8, Operation::Free, Shape::Free { pointer: 0 }),
            point(16, Operation::Malloc, Shape::Size { size: 0 }),
            point(24, Operation::Mmap, Shape::Map),
        ]
    }

    fn placed(points: &Points, kernel: &Kernel) -> Found {
        place(&mut kernel.clone(), Slot(1), points, &mut HashSet::new())
    }

    /// Guarantees: where a program tells of its allocations by itself the allocators are left alone, in whatever file, but
    /// not the mappings.
    #[test]
    fn a_program_that_tells() {
        for (usdt, attached, how) in
            [(false, vec![8, 16, 24], vec!["entry", "gate"]), (true, vec![24], vec!["entry", "usdt"])]
        {
            let kernel = Kernel::default();
            let images = vec![image(1, false, library()), image(2, usdt, Vec::new())];
            let found = placed(&Points { images, ..Points::default() }, &kernel);
            let offsets: Vec<u64> =
                kernel.with(|fake| fake.attached.iter().map(|point| point.offset).collect());
            assert_eq!(offsets, attached);
            assert_eq!(found.placements.into_iter().collect::<Vec<_>>(), how);
            assert_eq!(found.placed, attached.len() + if usdt { 2 } else { 0 });
        }
    }

    /// Guarantees: a file gets its probes once; the linker's notice makes no allocator of it; what the kernel refuses is
    /// said with the reason.
    #[test]
    fn once_a_file() {
        let (kernel, mut files) = (Kernel::default(), HashSet::new());
        let linker = vec![point(8, Operation::LoadedCode, Shape::LoadedCode)];
        let points = Points { images: vec![image(1, false, linker)], ..Points::default() };
        let found = place(&mut kernel.clone(), Slot(1), &points, &mut files);
        assert_eq!((found.placed, found.allocators.len(), found.placements.len()), (1, 0, 0));
        assert_eq!(place(&mut kernel.clone(), Slot(1), &points, &mut files).placed, 0);
        kernel.with(|fake| fake.refuses = Some("the kernel says no"));
        let points = Points { images: vec![image(2, false, library())], ..Points::default() };
        assert_eq!(placed(&points, &kernel).refused, ["nothing of /lib/a.so is seen: the kernel says no"]);
    }
}
