//! What all our BPF objects need: loading, finding their parts, and changing what their maps hold.

use std::collections::HashSet;
use std::fs;
use std::hash::Hash;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libbpf_rs::{
    Iter, Link, MapCore as _, MapFlags, MapHandle, Object, ObjectBuilder, OpenMapMut, ProgramMut,
};
use zerocopy::{Immutable, IntoBytes};

use crate::error::SweepError;
use crate::worker::Source;
use crate::{cpus, kernel, messages};

/// What was being done, and what libbpf said to it.
pub(crate) type Failure = (&'static str, libbpf_rs::Error);

pub(crate) fn failure(doing: &'static str, reason: impl Into<String>) -> Failure {
    (doing, libbpf_rs::Error::from(io::Error::other(reason.into())))
}

/// Does what talks to libbpf, and turns its failures into errors that say what to do.
pub(crate) fn explained<T>(
    btf: Option<&Path>,
    act: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, SweepError> {
    let _guard = one_at_a_time();
    messages::install();
    messages::forget();
    kernel::require_btf(btf)?;
    act().map_err(|(doing, error)| kernel::explain(doing, &error))
}

/// Loads these programs of an object, with its constants set.
pub(crate) fn load(
    name: &str,
    bytes: &[u8],
    btf: Option<&Path>,
    constants: &[(&str, &[u8])],
    programs: &[&str],
) -> Result<Object, Failure> {
    load_with(name, bytes, btf, constants, programs, |_| Ok(()))
}

/// As [`load`], with maps that are changed before.
pub(crate) fn load_with(
    name: &str,
    bytes: &[u8],
    btf: Option<&Path>,
    constants: &[(&str, &[u8])],
    programs: &[&str],
    mut change: impl FnMut(&mut OpenMapMut<'_>) -> libbpf_rs::Result<()>,
) -> Result<Object, Failure> {
    let opening = |error| ("opening a program", error);
    let mut builder = ObjectBuilder::default();
    builder.name(name).map_err(opening)?;
    if let Some(path) = btf {
        builder.btf_custom_path(path).map_err(opening)?;
    }
    let mut object = builder.open_memory(bytes).map_err(opening)?;
    let possible = cpus::possible().to_ne_bytes();
    for mut map in object.maps_mut() {
        let name = map.name().to_owned();
        let cpus = (".rodata.cpus", &possible[..]);
        for (_, value) in constants.iter().chain([&cpus]).filter(|(of, _)| name == **of) {
            map.set_initial_value(value).map_err(opening)?;
        }
        change(&mut map).map_err(opening)?;
    }
    for mut program in object.progs_mut() {
        let wanted = programs.iter().any(|name| program.name() == *name);
        program.set_autoload(wanted);
    }
    object.load().map_err(|error| ("loading a program", error))
}

pub(crate) fn program<'a>(object: &'a Object, name: &'static str) -> Result<ProgramMut<'a>, Failure> {
    let found = object.progs_mut().find(|program| program.name() == name);
    found.ok_or_else(|| failure("looking for a program", name))
}

pub(crate) fn handle(object: &Object, name: &'static str) -> Result<MapHandle, Failure> {
    let map = object.maps().find(|map| map.name() == name);
    let map = map.ok_or_else(|| failure("looking for a map", name))?;
    MapHandle::try_from(&map).map_err(|error| ("looking for a map", error))
}

/// Runs an iterator that writes nothing.
pub(crate) fn run_through(link: &Link) -> libbpf_rs::Result<()> {
    let mut iterator = Iter::new(link)?;
    loop {
        match iterator.read(&mut [0; 64]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // the kernel yields after very many tasks, and expects to be asked again
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Loads these programs of an object, and runs its program `meet`, which learns who listens.
pub(crate) fn load_met(
    name: &str,
    bytes: &[u8],
    btf: Option<&Path>,
    constants: &[(&str, &[u8])],
    programs: &[&str],
) -> Result<Object, Failure> {
    let doing = |error| ("preparing to listen", error);
    let programs: Vec<&str> = programs.iter().copied().chain(["meet"]).collect();
    let object = load(name, bytes, btf, constants, &programs)?;
    let meeting = program(&object, "meet")?.attach().map_err(doing)?;
    run_through(&meeting).map_err(doing)?;
    Ok(object)
}

/// Where what its programs tell is read.
pub(crate) fn source(object: &Object) -> Result<Source, Failure> {
    Ok(Source { ring: handle(object, "events")?, lost: handle(object, ".data.lost")? })
}

pub(crate) fn io_error(doing: &'static str, error: &dyn std::fmt::Display) -> SweepError {
    SweepError::Io { doing, reason: format!("{error:#}") }
}

pub(crate) fn within(asked: usize, max: usize, what: &'static str) -> Result<(), SweepError> {
    if asked > max { Err(SweepError::TooManyWatched { asked, max, what }) } else { Ok(()) }
}

/// Makes the map, which holds `present`, hold `wanted`.
pub(crate) fn change<K: Copy + Eq + Hash + IntoBytes + Immutable>(
    map: &MapHandle,
    present: &mut HashSet<K>,
    wanted: &HashSet<K>,
) -> Result<(), SweepError> {
    let failed = |error| io_error("changing what is watched", &error);
    let gone: Vec<K> = present.difference(wanted).copied().collect();
    for key in gone {
        map.delete(key.as_bytes()).map_err(failed)?;
        present.remove(&key);
    }
    for key in wanted {
        if !present.contains(key) {
            map.update(key.as_bytes(), &[1], MapFlags::ANY).map_err(failed)?;
            present.insert(*key);
        }
    }
    Ok(())
}

/// libbpf's messages have one destination for the process: held while they are being gathered for one caller.
pub(crate) fn one_at_a_time() -> MutexGuard<'static, ()> {
    static OPENING: Mutex<()> = Mutex::new(());
    OPENING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kernel memory of an object's maps, bytes, as the kernel itself accounts it.
pub(crate) fn kernel_bytes(object: &Object) -> u64 {
    let of = |fd: i32| {
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
        memlock(&text)
    };
    object.maps().filter_map(|map| of(map.as_fd().as_raw_fd())).sum()
}

fn memlock(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what the kernel says of a map's memory is read, and nothing else is taken for it.
    #[test]
    fn reads_what_a_map_takes() {
        assert_eq!(memlock("pos:\t0\nmap_type:\t1\nmemlock:\t4096\nmap_id:\t7\n"), Some(4096));
        assert_eq!(memlock("pos:\t0\n"), None);
        assert_eq!(memlock("memlock:\tmuch\n"), None);
    }
}
