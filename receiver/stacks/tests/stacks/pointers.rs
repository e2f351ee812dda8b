//! Whether code keeps frame pointers, and what comes of following them.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use mlh_stacks::modules::Modules;
use mlh_stacks::unwind::{Captured, Library, Unwind, Unwinder};

use crate::target::{MAX_FRAMES, Target, build, build_bare, functions, run_tool};

/// A program that waits for its input to end.
struct Waiting(Child);

impl Waiting {
    fn run(program: &Path) -> Self {
        use std::io::Read as _;
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // By then it has loaded what it will.
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self(child)
    }

    /// What it maps; of files only those that have the name, if there is one.
    fn keeps(&self, only: Option<&Path>) -> bool {
        let mut modules = Modules::read(self.0.id()).unwrap();
        modules.modules.retain(|module| only.is_none_or(|path| module.path == path));
        let mut unwinder = Unwinder::new(self.0.id(), MAX_FRAMES);
        unwinder.refresh(&modules);
        unwinder.keeps_frame_pointers()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

/// Guarantees: whether code keeps frame pointers is seen in the code of each file; of a process it is said only if all
/// do, the C library as well.
/// Needs: gcc, clang, rustc.
#[test]
fn seen_in_the_code() {
    let room = tempfile::tempdir().unwrap();
    let (keep, omit) = ("-fno-omit-frame-pointer", "-fomit-frame-pointer");
    let untold = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
    let cases: [(&[&str], bool); 7] = [
        (&[], false),
        (&[omit], false),
        (&[keep], true),
        (&["-O0"], true),
        (&[keep, "-fno-pie", "-no-pie"], true),
        (&[keep, untold[0], untold[1]], true),
        (&[omit, untold[0], untold[1]], false),
    ];
    for (flags, expected) in cases {
        let program = build_bare(room.path(), "steps.c", flags);
        let waiting = Waiting::run(&program);
        assert_eq!(waiting.keeps(Some(&program)), expected, "{flags:?}");
        assert!(!waiting.keeps(None), "{flags:?}: libc of this distribution keeps none");
    }
    for (flags, expected) in [(&[keep][..], true), (&[omit], false), (&[], false)] {
        let program = room.path().join("clang");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stacks/programs/steps.c");
        run_tool(Command::new("clang").arg("-O2").args(flags).arg(source).arg("-o").arg(&program));
        assert_eq!(Waiting::run(&program).keeps(Some(&program)), expected, "clang {flags:?}");
    }
    let source = room.path().join("it.rs");
    let text = "use std::io::{Read, Write};
        #[inline(never)] fn kept(n: usize) -> Vec<u8> { vec![1; n] }
        fn main() {
            std::io::stdout().write_all(&kept(std::env::args().count())).unwrap();
            std::io::stdout().flush().unwrap();
            drop(std::io::stdin().read(&mut [0]));
        }";
    std::fs::write(&source, text).unwrap();
    let program = room.path().join("rust");
    run_tool(
        Command::new("rustc").args(["-O", "-Cforce-frame-pointers=yes", "-o"]).arg(&program).arg(&source),
    );
    // Its standard library has been built with frame pointers as well.
    assert!(Waiting::run(&program).keeps(Some(&program)));
}

/// Guarantees: a process all of whose code keeps frame pointers is said to, so that the kernel can follow them; and what
/// the kernel has followed gives the same stack as a copy, by whatever is asked for.
/// Needs: a static C library is not asked to keep them: the program has none.
#[test]
fn without_a_library() {
    let room = tempfile::tempdir().unwrap();
    let source = room.path().join("bare.c");
    // Says that it runs, and waits: no library is linked.
    let text = r#"
        static long call(long number, long a, long b, long c) {
          long result;
          __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
          return result;
        }
        __attribute__((noinline)) long inner(char *byte) { return call(1, 1, (long)byte, 1) + call(0, 0, (long)byte, 1); }
        __attribute__((noinline)) long outer(char *byte) { return inner(byte) + 1; }
        void _start(void) { char byte = 1; outer(&byte); call(231, 0, 0, 0); }
    "#;
    std::fs::write(&source, text).unwrap();
    for (flag, expected) in [("-fno-omit-frame-pointer", true), ("-fomit-frame-pointer", false)] {
        let program = room.path().join("bare");
        let flags = ["-O2", "-static", "-nostdlib", "-fno-stack-protector", flag];
        run_tool(Command::new("cc").args(flags).arg(&source).arg("-o").arg(&program));
        assert_eq!(Waiting::run(&program).keeps(None), expected, "{flag}");
    }
}

/// Guarantees: each way of unwinding is kept to. By frame pointers alone a program that keeps them has all of its own
/// functions, and one that does not is said to have no more; by unwind information alone nothing else is followed.
#[test]
fn ways() {
    let room = tempfile::tempdir().unwrap();
    let traced = |program: &Path, unwind| {
        let target = Target::run(program, &[]);
        let mut unwinder = Unwinder::with_library(target.pid(), MAX_FRAMES, unwind, &Library::default());
        unwinder.refresh(&target.modules());
        assert!(unwinder.keeps_frame_pointers() == (unwind == Unwind::FramePointers));
        unwinder.trace(&target.captured())
    };
    let kept = build(room.path(), "chain.c", &["-fno-omit-frame-pointer"]);
    let by_pointers = traced(&kept, Unwind::FramePointers);
    let by_rows = traced(&kept, Unwind::Dwarf);
    assert_eq!((traced(&kept, Unwind::Auto).hash, &by_rows.incomplete), (by_rows.hash, &None));
    let own = by_rows.frames.iter().position(|frame| frame.function.as_deref() == Some("main")).unwrap();
    assert_eq!(functions(&by_pointers)[..=own], functions(&by_rows)[..=own]);
    let omitted = build(room.path(), "chain.c", &[]);
    let by_pointers = traced(&omitted, Unwind::FramePointers);
    assert!(by_pointers.incomplete.is_some(), "{by_pointers:#?}");
    let untold = ["-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
    let by_rows = traced(&build(room.path(), "chain.c", &untold), Unwind::Dwarf);
    assert_eq!(functions(&by_rows), ["level_12"]);
    assert!(by_rows.incomplete.unwrap().contains("has no unwind information for level_12"));
}

/// Guarantees: a chain from the kernel is cut where no code is, at the frames that are wanted, and where the kernel stopped,
/// and says each; one through code without frame pointers says that somebody may be missing.
#[test]
fn chains_that_end() {
    let room = tempfile::tempdir().unwrap();
    let target = Target::run(&build(room.path(), "chain.c", &["-fno-omit-frame-pointer"]), &[]);
    let whole = target.trace();
    let callers: Vec<_> =
        whole.frames.iter().filter(|frame| !frame.inlined).skip(1).map(|frame| frame.address).collect();
    let main = functions(&whole).iter().position(|name| *name == "main").unwrap();
    let traced = |chain: &[u64], truncated, most| {
        let mut unwinder =
            Unwinder::with_library(target.pid(), most, Unwind::FramePointers, &Library::default());
        unwinder.refresh(&target.modules());
        let Captured { ip, sp, bp, .. } = target.captured();
        let trace = unwinder.trace(&Captured { ip, sp, bp, chain, truncated, ..Captured::default() });
        assert_eq!(trace.frames[..], whole.frames[..trace.frames.len()]);
        (trace.frames.len(), trace.incomplete)
    };
    let ends = |chain: &[u64], truncated, most, len: usize, reason: &str| {
        let (found, why) = traced(chain, truncated, most);
        assert_eq!(found, len, "{reason}");
        assert!(why.as_deref().unwrap().ends_with(reason), "{why:?} {reason}");
    };
    // The C library's own call of main is as far as frame pointers lead.
    assert_eq!(traced(&callers[..=main], false, MAX_FRAMES), (main + 2, None));
    let inner = main - 1;
    ends(&callers[..inner], false, MAX_FRAMES, main, "frame pointers lead no further than level_1");
    ends(&callers[..inner], true, MAX_FRAMES, main, &format!("walked no further than {main} frames"));
    ends(&callers, false, 5, 5, "it has more than 5 frames");
    let lost = [&callers[..inner], &[0x1234]].concat();
    ends(&lost, false, MAX_FRAMES, main, "level_1 leads to 0x1234, where no code was mapped");
    let omitted = Target::run(&build(room.path(), "chain.c", &[]), &[]);
    let mut unwinder =
        Unwinder::with_library(omitted.pid(), MAX_FRAMES, Unwind::FramePointers, &Library::default());
    unwinder.refresh(&omitted.modules());
    let chain = [omitted.trace().frames[3].address];
    let Captured { ip, sp, bp, .. } = omitted.captured();
    let trace = unwinder.trace(&Captured { ip, sp, bp, chain: &chain, ..Captured::default() });
    assert!(trace.incomplete.unwrap().contains("level_12 keeps no frame pointer: its caller may be missing"));
}
