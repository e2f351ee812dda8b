//! Placing probes: one link for many of them where the kernel can do that, else one each.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use libbpf_rs::{Link, Object, UprobeMultiOpts, UprobeOpts, UsdtOpts};

use super::cookie;
use super::heard::Slot;
use super::point::{Point, Role, Shape};
use super::program::Way;
use super::subject;
use crate::error::SweepError;
use crate::object::{self, Failure, io_error};

/// The provider of the OpenTelemetry memory profiling contract.
const OTEL_PROVIDER: &str = "otel_memory";

/// What runs at a probe. In the order in which they are placed: frees are among the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trap {
    /// When it is reached.
    Hit,
    /// When it is reached, and when the function that begins there returns.
    HitAndReturn,
}

/// Where, and what the program is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) offset: u64,
    pub(crate) cookie: u64,
}

/// What became of the probes that were to be placed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attached {
    /// Probes that are in place.
    pub placed: usize,
    /// Placed by one link for all of them (uprobe.multi).
    pub multi: bool,
    /// Those that are not, with the reason.
    pub refused: Vec<(Point, String)>,
}

/// Places all of them, or none.
pub(crate) fn place(
    object: &Object,
    way: Way,
    trap: Trap,
    pid: u32,
    image: &Path,
    spots: &[Spot],
) -> Result<Vec<Link>, Failure> {
    match (way, trap) {
        (Way::Session, Trap::HitAndReturn) => many(object, "session", pid, image, spots, Form::Session),
        (Way::Session | Way::Multi, Trap::Hit) => many(object, "hit_multi", pid, image, spots, Form::Entry),
        // the way back first: an entry without one would never end
        (Way::Multi, Trap::HitAndReturn) => {
            let mut links = many(object, "return_multi", pid, image, spots, Form::Return)?;
            links.extend(many(object, "hit_multi", pid, image, spots, Form::Entry)?);
            Ok(links)
        }
        (Way::Single, Trap::Hit) => each(object, "hit_single", pid, image, spots, false),
        (Way::Single, Trap::HitAndReturn) => {
            let mut links = each(object, "return_single", pid, image, spots, true)?;
            links.extend(each(object, "hit_single", pid, image, spots, false)?);
            Ok(links)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Entry,
    Return,
    Session,
}

fn many(
    object: &Object,
    program: &'static str,
    pid: u32,
    image: &Path,
    spots: &[Spot],
    form: Form,
) -> Result<Vec<Link>, Failure> {
    let options = UprobeMultiOpts {
        offsets: spots.iter().map(|spot| offset_of(*spot)).collect::<Result<_, _>>()?,
        cookies: spots.iter().map(|spot| spot.cookie).collect(),
        retprobe: form == Form::Return,
        session: form == Form::Session,
        ..UprobeMultiOpts::default()
    };
    let program = object::program(object, program)?;
    let link = program.attach_uprobe_multi_with_opts(number(pid)?, image, "", options).map_err(placing)?;
    Ok(vec![link])
}

fn each(
    object: &Object,
    program: &'static str,
    pid: u32,
    image: &Path,
    spots: &[Spot],
    retprobe: bool,
) -> Result<Vec<Link>, Failure> {
    let (program, pid) = (object::program(object, program)?, number(pid)?);
    let one = |spot: &Spot| {
        let options = UprobeOpts { cookie: spot.cookie, retprobe, ..UprobeOpts::default() };
        program.attach_uprobe_with_opts(pid, image, offset_of(*spot)?, options).map_err(placing)
    };
    spots.iter().map(one).collect()
}

/// Places the probes of the USDT `otel_memory`, both or none.
pub(crate) fn place_usdt(object: &Object, slot: Slot, pid: u32, image: &Path) -> Result<[Link; 2], Failure> {
    let pid = number(pid)?;
    let attach = |program, name| {
        let options = UsdtOpts { cookie: slot.0.into(), ..UsdtOpts::default() };
        object::program(object, program)?
            .attach_usdt_with_opts(pid, image, OTEL_PROVIDER, name, options)
            .map_err(|error| ("placing USDT probes", error))
    };
    // frees first: what is freed before its allocation was seen does no harm
    Ok([attach("otel_free", "free")?, attach("otel_alloc", "alloc")?])
}

fn placing(error: libbpf_rs::Error) -> Failure {
    ("placing probes", error)
}

fn number(pid: u32) -> Result<i32, Failure> {
    i32::try_from(pid).map_err(|_| object::failure("placing probes", "no pid is so large"))
}

fn offset_of(spot: Spot) -> Result<usize, Failure> {
    usize::try_from(spot.offset).map_err(|_| object::failure("placing probes", "no file is so large"))
}

/// Device and inode.
pub(crate) fn identity(image: &Path) -> Result<(u64, u64), SweepError> {
    let file = fs::metadata(image).map_err(|error| io_error("opening what is to be probed", &error))?;
    Ok((file.dev(), file.ino()))
}

/// Whether memory is given back there.
pub(crate) fn gives_back(shape: Shape) -> bool {
    use Shape::{Free, GlibcFreed, Resize, ResizeArray};
    matches!(shape, Free { .. } | GlibcFreed { .. } | Resize { .. } | ResizeArray { .. })
}

/// How and with what cookie a probe is placed.
pub(crate) fn spot(slot: Slot, point: &Point, pid: u32) -> Result<(Trap, Spot), String> {
    let cookie = cookie::pack(slot, point)?;
    let spot = Spot { offset: point.offset, cookie };
    if point.role != Role::Entry || !cookie::has_result(point.shape) {
        return Ok((Trap::Hit, spot));
    }
    if point.to_return_address != 0 {
        return Err("a return probe can only be placed before anything is pushed".to_owned());
    }
    subject::require_return_probes(pid)?;
    Ok((Trap::HitAndReturn, spot))
}
