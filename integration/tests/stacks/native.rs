//! Programs that are compiled: gcc, clang, g++, clang++, musl, rustc and Go, in the ways in which they are built and run.

use crate::row::{Goal, Row, rows};

const NO_NAMES: Goal =
    Goal::Least(0.0, "allocator and program are one file without names: which frame to blame cannot be told");
const NOT_FOUND: Goal = Goal::Unseen("no allocator can be found in a static file without symbols");
const GROUPS: Goal =
    Goal::Least(0.9, "musl lays blocks out in groups: whose request makes one touches it first");
const HIDDEN: Goal =
    Goal::Least(0.0, "what makes no frame, as memset, hides its caller from those who follow frame pointers");
const GO_HEAP: Goal = Goal::Unseen("Go allocates within memory of its own");
const GO_TABLES: Goal = Goal::Least(0.95, "Go's runtime touches tables of its own beside what C allocates");
const COLLECTOR: Goal = Goal::Least(0.85, "what the collector notes of the heap grows with it");

fn gcc(flags: &'static str) -> Row {
    Row::compiled("gcc", "leak.c", flags)
}

fn clang(flags: &'static str) -> Row {
    Row::compiled("clang", "leak.c", flags)
}

fn musl(flags: &'static str) -> Row {
    Row::compiled("musl-gcc", "leak.c", flags)
}

fn gxx(flags: &'static str) -> Row {
    Row::compiled("g++", "leak.cc", flags)
}

fn clangxx(flags: &'static str) -> Row {
    Row::compiled("clang++", "leak.cc", flags)
}

fn rustc(flags: &'static str) -> Row {
    Row::compiled("rustc", "leak.rs", flags)
}

rows! {
    gcc_o0 => gcc("-O0 -g"),
    gcc_o2 => gcc("-O2 -g"),
    gcc_o2_symbols => gcc("-O2"),
    gcc_o2_without_frame_pointers => gcc("-O2 -g -fomit-frame-pointer"),
    gcc_o2_with_frame_pointers => gcc("-O2 -g -fno-omit-frame-pointer"),
    gcc_o2_unwound_by_dwarf => gcc("-O2 -g").looked_at(&["--unwind", "dwarf"]),
    gcc_o2_walked =>
        gcc("-O2 -g -fno-omit-frame-pointer").looked_at(&["--unwind", "frame_pointers"]).growth(HIDDEN),
    gcc_o3_lto => gcc("-O3 -g -flto"),
    gcc_o2_inlined => gcc("-O2 -g -DINLINED"),
    gcc_o2_inlined_symbols => gcc("-O2 -DINLINED"),
    gcc_o2_compressed => gcc("-O2 -g -DINLINED -gz=zlib"),
    gcc_o2_split => gcc("-O2 -g -DINLINED -gsplit-dwarf"),
    gcc_o2_dwarf_4 => gcc("-O2 -g -DINLINED -gdwarf-4"),
    gcc_o2_no_pie => gcc("-O2 -g -no-pie"),
    gcc_stripped => gcc("-O2").stripped(),
    gcc_stripped_inlined => gcc("-O2 -g -DINLINED").stripped(),
    gcc_stripped_no_pie => gcc("-O2 -no-pie").stripped(),
    gcc_static => gcc("-O2 -g -static"),
    gcc_static_frame_pointers => gcc("-O2 -g -static -fno-omit-frame-pointer"),
    gcc_static_pie => gcc("-O2 -g -static-pie"),
    gcc_static_inlined => gcc("-O2 -g -static -DINLINED"),
    gcc_static_stripped => gcc("-O2 -static").stripped().allocations(NOT_FOUND).growth(NO_NAMES),
    gcc_static_pie_stripped => gcc("-O2 -static-pie").stripped().allocations(NOT_FOUND).growth(NO_NAMES),
    gcc_container => gcc("-O2 -g").in_container(),
    gcc_container_inlined => gcc("-O2 -g -DINLINED").in_container(),
    gcc_container_stripped => gcc("-O2").stripped().in_container(),
    gcc_container_static => gcc("-O2 -g -static").in_container(),

    clang_o0 => clang("-O0 -g"),
    clang_o2 => clang("-O2 -g"),
    clang_o2_symbols => clang("-O2"),
    clang_o2_without_frame_pointers => clang("-O2 -g -fomit-frame-pointer"),
    clang_o2_with_frame_pointers => clang("-O2 -g -fno-omit-frame-pointer"),
    clang_o2_inlined => clang("-O2 -g -DINLINED"),
    clang_stripped => clang("-O2").stripped(),
    clang_static => clang("-O2 -g -static"),
    clang_static_pie => clang("-O2 -g -static-pie"),
    clang_container => clang("-O2 -g").in_container(),

    musl_o2 => musl("-O2 -g").growth(GROUPS),
    musl_o2_inlined => musl("-O2 -g -DINLINED").growth(GROUPS),
    musl_stripped => musl("-O2").stripped().growth(GROUPS),
    musl_static => musl("-O2 -g -static").growth(GROUPS),
    musl_container => musl("-O2 -g").in_container().growth(GROUPS),
    musl_container_stripped => musl("-O2").stripped().in_container().growth(GROUPS),
    musl_container_static => musl("-O2 -g -static").in_container().growth(GROUPS),

    gxx_o0 => gxx("-O0 -g"),
    gxx_o2 => gxx("-O2 -g"),
    gxx_o2_symbols => gxx("-O2"),
    gxx_o2_without_frame_pointers => gxx("-O2 -g -fomit-frame-pointer"),
    gxx_o2_with_frame_pointers => gxx("-O2 -g -fno-omit-frame-pointer"),
    gxx_o2_inlined => gxx("-O2 -g -DINLINED"),
    gxx_o2_inlined_symbols => gxx("-O2 -DINLINED"),
    gxx_stripped => gxx("-O2").stripped(),
    gxx_static => gxx("-O2 -g -static"),
    gxx_static_pie => gxx("-O2 -g -static-pie"),
    gxx_container => gxx("-O2 -g").in_container(),
    clangxx_o0 => clangxx("-O0 -g"),
    clangxx_o2_inlined => clangxx("-O2 -g -DINLINED"),
    clangxx_stripped => clangxx("-O2").stripped(),

    rustc_o0 => rustc("--edition=2024 -Cdebuginfo=2"),
    rustc_o => rustc("--edition=2024 -O -Cdebuginfo=2"),
    rustc_o_symbols => rustc("--edition=2024 -O"),
    rustc_o_frame_pointers => rustc("--edition=2024 -O -Cdebuginfo=2 -Cforce-frame-pointers=yes"),
    rustc_o_inlined => rustc("--edition=2024 -O -Cdebuginfo=2 --cfg inlined"),
    rustc_stripped => rustc("--edition=2024 -O").stripped(),
    rustc_static_pie => rustc("--edition=2024 -O -Cdebuginfo=2 -Ctarget-feature=+crt-static"),
    rustc_static =>
        rustc("--edition=2024 -O -Cdebuginfo=2 -Ctarget-feature=+crt-static -Crelocation-model=static"),
    rustc_container => rustc("--edition=2024 -O -Cdebuginfo=2").in_container(),

    go => Row::go("go", &[]).allocations(GO_HEAP).growth(COLLECTOR),
    go_unoptimised => Row::go("go", &["-gcflags=all=-N -l"]).allocations(GO_HEAP).growth(COLLECTOR),
    go_stripped => Row::go("go", &["-ldflags=-s -w"]).allocations(GO_HEAP).growth(COLLECTOR),
    go_walked => Row::go("go", &[]).looked_at(&["--unwind", "frame_pointers"]).allocations(GO_HEAP).growth(COLLECTOR),
    go_pie => Row::go("go", &["-buildmode=pie"]).allocations(GO_HEAP).growth(COLLECTOR),
    go_pie_stripped => Row::go("go", &["-buildmode=pie", "-ldflags=-s -w"]).allocations(GO_HEAP).growth(COLLECTOR),
    go_container => Row::go("go", &[]).in_container().allocations(GO_HEAP).growth(COLLECTOR),
    go_with_c => Row::go("cgo", &[]).leaking_in("new_buffer").named(", leak in C").growth(GO_TABLES),
}
