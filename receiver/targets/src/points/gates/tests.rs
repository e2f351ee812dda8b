use std::fs::File;
use std::path::Path;

use mlh_bpf::alloc::point::{Role, Point};

use super::super::analysis::analyse;
use super::super::elf::Elf;
use super::super::names::Names;

fn gates(path: &Path, smallest: u64) -> Vec<Point> {
    let elf = Elf::open(File::open(path).unwrap()).ok().unwrap();
    let analysis = analyse(&elf, &Names::new(), "it", smallest);
    analysis.allocator
}

#[test]
fn show() {
    for (lib, smallest) in [("libc.so.6", 1033u64), ("libc.so.6", 1032), ("libjemalloc.so.2", 4097), ("libjemalloc.so.2", 20000),("libmimalloc.so.2", 1025), ("libtcmalloc_minimal.so.4", 1<<20)] {
        let t = std::time::Instant::now();
        let g = gates(&Path::new("/usr/lib/x86_64-linux-gnu").join(lib), smallest);
        println!("{lib} {smallest} {:?}", t.elapsed());
        for p in g.iter().filter(|p| p.role != Role::ReturnSite).take(18) { println!("  {:x} {:?} {:?} {:?} e{} {}", p.offset, p.operation, p.role, p.shape, p.emulated, p.to_return_address); }
    }
}
#[test]
fn debug() {
    let elf = Elf::open(File::open("/usr/lib/x86_64-linux-gnu/libc.so.6").unwrap()).ok().unwrap();
    let program = super::Program::of(&elf).unwrap();
    for f in [0x7f1d0u64, 0x94850, 0x952f0] {
        let t = std::time::Instant::now();
        let mut n = 0;
        let function = program.function(f).unwrap();
        let ok = program.follow(&function, &super::state::Premise { arguments: vec![(iced_x86::Register::RDI, super::value::Value::constant(1))], ..Default::default() }, &mut |i, s| { n += 1; if super::routes::is_left(i, &function, s) { println!("  left {:x}", i.ip()); return super::routes::Step::Enough; } super::routes::Step::On });
        println!("{f:x} {ok} {n} {:?}", t.elapsed());
    }
}
