//! Page maps of real processes, against what they know of their memory.

#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a fixture that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use mlh_targets::pagemap::{PageState, Pagemap, PagemapError, huge_page_size};

/// The program, and where its memory is.
struct Program {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    small: u64,
    shared: u64,
    huge: u64,
    _folder: tempfile::TempDir,
}

impl Program {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("pages");
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pages/pages.c");
        assert!(
            Command::new("cc").arg("-O1").arg(source).arg("-o").arg(&program).status().unwrap().success()
        );
        let mut child = Command::new(program)
            .arg("/bin/cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, mut answers) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let at: Vec<u64> = line
            .split_whitespace()
            .map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap())
            .collect();
        Self { child, orders, answers, small: at[0], shared: at[1], huge: at[2], _folder: folder }
    }

    /// Has it do something, and waits until it is done.
    fn does(&mut self, order: u8) {
        self.orders.write_all(&[order]).unwrap();
        let mut answer = [0];
        self.answers.read_exact(&mut answer).unwrap();
    }

    fn small(&self) -> Vec<u64> {
        (0..64).map(|page| self.small + page * 4096 + 5).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Guarantees: what was touched is there, and what was given back is not; shared memory and files are told from memory of
/// the process's own.
/// Needs: cc.
#[test]
fn presence() {
    let mut program = Program::start();
    let map = Pagemap::open(program.child.id()).unwrap();
    let touched = map.states(&program.small()).unwrap();
    let expected =
        |page: usize| if page.is_multiple_of(2) { PageState::Anonymous } else { PageState::Absent };
    assert_eq!(touched, (0..64).map(expected).collect::<Vec<_>>());
    assert_eq!(map.states(&[program.shared]).unwrap(), [PageState::FileOrShared]);
    program.does(b'g');
    assert!(map.states(&program.small()).unwrap().iter().all(|state| *state == PageState::Absent));
    // what no process can have is not there, beside something that is
    let mixed = map.states(&[program.shared, u64::MAX - 4096, u64::MAX]).unwrap();
    assert_eq!(mixed, [PageState::FileOrShared, PageState::Absent, PageState::Absent]);
    assert_eq!(map.states(&[]).unwrap(), []);
}

/// Guarantees: a huge page is told from small ones until it is torn.
/// Needs: cc, huge pages for those who ask for them.
#[test]
fn huge_pages() {
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if enabled.contains("[never]") || enabled.is_empty() {
        println!("skipped: transparent huge pages are switched off here");
        return;
    }
    assert_eq!(huge_page_size(), 2 << 20);
    let mut program = Program::start();
    let mut map = Pagemap::open(program.child.id()).unwrap();
    let far = program.huge + 300 * 4096;
    assert_eq!(map.states(&[far]).unwrap(), [PageState::Anonymous], "no huge page was to be had");
    assert!(map.is_huge(far) && !map.is_huge(program.small) && !map.is_huge(u64::MAX));
    program.does(b's');
    assert!(!map.is_huge(far), "a part was given back");
}

/// Guarantees: a process that has ended, and one that runs another program, are known as such, whoever has the pid.
/// Needs: cc.
#[test]
fn ends() {
    let mut program = Program::start();
    let map = Pagemap::open(program.child.id()).unwrap();
    assert!(map.states(&[program.shared]).is_ok());
    program.orders.write_all(b"xhello").unwrap();
    // the next program echoes it
    let mut answer = [0; 5];
    program.answers.read_exact(&mut answer).unwrap();
    assert_eq!(map.states(&[program.shared]), Err(PagemapError::Ended));
    let next = Pagemap::open(program.child.id()).unwrap();
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    assert_eq!(next.states(&[program.shared]), Err(PagemapError::Ended));
    assert_eq!(Pagemap::open(program.child.id()).err(), Some(PagemapError::Ended));
}

/// Guarantees: a look at ten thousand pages that lie apart is a matter of milliseconds.
/// Needs: cc.
#[test]
fn cost() {
    let program = Program::start();
    let map = Pagemap::open(program.child.id()).unwrap();
    let addresses: Vec<u64> = (0..10_000).map(|n| program.huge + n * 4096 * 100).collect();
    let began = Instant::now();
    map.states(&addresses).unwrap();
    let took = began.elapsed();
    println!("{:?} a page", took / 10_000);
    assert!(took.as_secs_f64() < 1.0, "{took:?}");
}
