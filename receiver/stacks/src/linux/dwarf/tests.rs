//! Names of real files, compared with what another implementation makes of the same bytes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use addr2line::Context;
use gimli::{EndianArcSlice, LittleEndian, SectionId};

use super::*;
use crate::linux::elf::Elf;

type Bytes = EndianArcSlice<LittleEndian>;

const SOURCE: &str = r#"
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>
namespace app {
template <int N> inline int chain(std::vector<int> &v, int x) { v.push_back(x); return chain<N - 1>(v, x + N) ^ N; }
template <> inline int chain<0>(std::vector<int> &, int x) { return x; }
struct Cache {
    std::map<std::string, std::unique_ptr<int>> kept;
    int remember(int n) {
        struct Local { int twice(int n) { return 2 * n; } };
        kept[std::to_string(n)] = std::make_unique<int>(Local().twice(n));
        return kept.size();
    }
};
}
int main(int argc, char **argv) {
    app::Cache cache;
    std::vector<int> values;
    std::function<int(int)> serve = [&](int n) { return cache.remember(n) + app::chain<5>(values, n); };
    for (int n = 0; n < argc * 100; n++) serve(n);
    std::sort(values.begin(), values.end(), [](int a, int b) { return a > b; });
    return values.size() & 1;
}
"#;

fn compile(room: &Path, compiler: &str, flags: &[&str]) -> PathBuf {
    let (source, program) = (room.join("it.cc"), room.join("it"));
    fs::write(&source, SOURCE).unwrap();
    let mut command = Command::new(compiler);
    let done = command.current_dir(room).arg("-std=c++17").args(flags).arg("it.cc").arg("-o").arg(&program);
    let done = done.output().unwrap();
    assert!(done.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&done.stderr));
    program
}

fn read(program: &Path) -> Debug {
    let object = Object::read(File::open(program).unwrap()).unwrap();
    let beside = Beside::new(std::process::id(), program);
    let supplement = beside.supplement(&object);
    Debug::read(&object, supplement.as_ref(), object.elf.code(), &beside, &Means::default()).unwrap()
}

fn expected(program: &Path) -> impl Fn(u64) -> Vec<Named> {
    let file = File::open(program).unwrap();
    let elf = Elf::read(&file).unwrap();
    let load = |id: SectionId| {
        let section = elf.section(id.name().as_bytes());
        let contents = section.map(|it| it.contents(&file, 1 << 30).unwrap()).unwrap_or_default();
        Ok::<_, ()>(EndianArcSlice::new(Arc::from(contents), LittleEndian))
    };
    let context: Context<Bytes> = Context::from_dwarf(gimli::Dwarf::load(load).unwrap()).unwrap();
    move |address| {
        let mut frames = context.find_frames(address).skip_all_loads().unwrap();
        let mut found = Vec::new();
        while let Some(frame) = frames.next().unwrap() {
            let name = frame.function.as_ref().map(|it| demangle(&it.raw_name().unwrap()));
            let place = frame.location.as_ref();
            let line = place.and_then(|it| it.line).filter(|line| *line != 0);
            found.push(Named { function: name, file: place.and_then(|it| it.file).map(clean), line });
        }
        found
    }
}

/// How many of the addresses of a program have functions inlined, all of them named as expected.
fn compare(program: &Path, step: usize) -> usize {
    let object = Object::read(File::open(program).unwrap()).unwrap();
    let (mut debug, expected) = (read(program), expected(program));
    let mut inlined = 0;
    for address in object.elf.code().into_iter().flatten().step_by(step) {
        let (found, expected) = (debug.at(address), expected(address));
        assert_eq!(found, expected, "{address:#x} of {}", program.display());
        inlined += usize::from(found.len() > 1);
    }
    inlined
}

/// Guarantees: every address has the functions, files and lines that another reader finds, whichever compiler, version of
/// the format, optimisation, layout and compression.
///
/// Needs: gcc, clang, objcopy.
#[test]
fn as_others_read_it() {
    let room = tempfile::tempdir().unwrap();
    for (compiler, flags) in [
        ("g++", &["-O2", "-gdwarf-5"][..]),
        ("g++", &["-O2", "-gdwarf-4", "-ffunction-sections", "-Wl,--gc-sections"]),
        ("g++", &["-O0", "-gdwarf-3", "-gno-strict-dwarf"]),
        ("g++", &["-O3", "-g", "-flto", "-static"]),
        ("g++", &["-O2", "-g", "-gz=zlib"]),
        ("clang++", &["-O2", "-gdwarf-5"]),
        ("clang++", &["-O2", "-gdwarf-4", "-fdebug-types-section"]),
    ] {
        let program = compile(room.path(), compiler, flags);
        let inlined = compare(&program, if flags.contains(&"-static") { 61 } else { 3 });
        assert!(inlined > 50 || flags.contains(&"-O0"), "{compiler} {flags:?}: {inlined}");
    }
}

/// Guarantees: the same of a Rust program of many units, here this very one.
#[test]
fn this_program() {
    assert!(compare(&std::env::current_exe().unwrap(), 4999) > 100);
}

/// Guarantees: whatever the bytes of debug information are, all of it is read without a panic and in bounded time, and
/// what is sound of it is used.
///
/// Needs: gcc, clang.
#[test]
fn any_bytes() {
    let room = tempfile::tempdir().unwrap();
    let broken = room.path().join("broken");
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut roll = |most: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        usize::try_from(dice % most as u64).unwrap()
    };
    let mut right = [0, 0];
    for (compiler, flags) in [("g++", &["-O2", "-gdwarf-5"][..]), ("clang++", &["-O2", "-gdwarf-4"])] {
        let program = compile(room.path(), compiler, flags);
        let whole = fs::read(&program).unwrap();
        let elf = Elf::read(&File::open(&program).unwrap()).unwrap();
        let names = ["abbrev", "info", "line", "line_str", "str", "ranges", "rnglists", "aranges"];
        let places: Vec<_> = names
            .iter()
            .filter_map(|name| elf.section(format!(".debug_{name}").as_bytes())?.place())
            .map(|(at, size)| (usize::try_from(at).unwrap(), usize::try_from(size).unwrap()))
            .collect();
        let mut sound = read(&program);
        let addresses: Vec<_> = elf.code().into_iter().flatten().step_by(97).collect();
        let expected: Vec<_> = addresses.iter().map(|address| sound.at(*address)).collect();
        for round in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..1 << roll(10) {
                let (at, size) = places[roll(places.len())];
                bytes[at + roll(size)] = [0, 1, 0x7f, 0x80, 0xff, roll(256) as u8][roll(6)];
            }
            fs::write(&broken, &bytes).unwrap();
            let began = Instant::now();
            let object = Object::read(File::open(&broken).unwrap()).unwrap();
            let beside = Beside::new(std::process::id(), &broken);
            let debug = Debug::read(&object, None, elf.code(), &beside, &Means::default());
            let found = debug.map(|mut debug| addresses.iter().map(|it| debug.at(*it)).collect::<Vec<_>>());
            let is_right =
                found.iter().flatten().zip(&expected).filter(|(found, expected)| found == expected);
            right[usize::from(is_right.count() > addresses.len() / 2)] += 1;
            assert!(began.elapsed() < Duration::from_secs(60), "round {round} of {compiler}");
        }
    }
    assert!(right[0] > 50 && right[1] > 50, "{right:?}: the test tests nothing");
}
