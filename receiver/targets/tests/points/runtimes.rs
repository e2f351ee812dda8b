//! Runtimes with memory of their own.

use std::path::Path;
use std::process::Command;

use mlh_bpf::alloc::point::Shape;
use mlh_targets::points::{Family, Points, Runtime};

use crate::listing::Listing;
use crate::program::{Running, families, image};

const GO: &str = r#"package main

import (
	"bufio"
	"fmt"
	"os"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for {
		fmt.Println("ready")
		if !lines.Scan() {
			return
		}
	}
}
"#;

fn says(points: &Points, what: &str) -> bool {
    points.blind_spots.iter().any(|spot| spot.what.contains(what))
}

fn go(folder: &Path, flags: &str) {
    std::fs::write(folder.join("main.go"), GO).unwrap();
    let built = Command::new("go")
        .args(["build", "-ldflags", flags, "-o", "program", "main.go"])
        .env("CGO_ENABLED", "0")
        .current_dir(folder)
        .status()
        .unwrap();
    assert!(built.success());
}

/// Guarantees: of a Go program the runtime's own system calls are found, without symbols too, no function is probed whose
/// return would be caught, and it is said that the objects are not seen.
/// Needs: go.
#[test]
fn go_programs() {
    let room = tempfile::tempdir().unwrap();
    for flags in ["", "-s -w"] {
        go(room.path(), flags);
        let running = Running::start(&mut Command::new(room.path().join("program")));
        let points = running.points();
        assert_eq!(points.runtime, Runtime::Go);
        assert!(says(&points, "Go heap"));
        assert_eq!(families(&points), [Family::Mappings], "{flags}");
        let found = image(&points, "program");
        Listing::of(&found.path).check(found);
        for shape in [Shape::Map, Shape::Unmap, Shape::Advise] {
            assert!(found.points.iter().any(|point| point.shape == shape), "{flags}: {shape:?}");
        }
        assert!(found.points.iter().all(|point| point.role == mlh_bpf::alloc::point::Role::AfterSyscall));
    }
}

/// Guarantees: interpreters and virtual machines are told apart, their C library's allocator is found, and what they hide
/// is said.
/// Needs: python3, node.
#[test]
fn interpreters() {
    let wait = [
        (
            "/usr/bin/python3",
            "-c",
            "import sys\nprint('ready', flush=True)\nsys.stdin.readline()",
            Runtime::Cpython,
            "Python objects",
        ),
        (
            "/usr/bin/node",
            "-e",
            "console.log('ready'); process.stdin.on('data', () => process.exit())",
            Runtime::Node,
            "V8 heap",
        ),
    ];
    for (program, option, script, runtime, hidden) in wait {
        let running = Running::start(Command::new(program).args([option, script]));
        let points = running.points();
        assert_eq!(points.runtime, runtime);
        assert!(says(&points, hidden), "{:?}", points.blind_spots);
        assert!(families(&points).contains(&Family::Glibc));
    }
}

const JAVA: &str = r#"
public class Wait {
    public static void main(String[] arguments) throws Exception {
        System.out.println("ready");
        System.in.read();
    }
}
"#;

/// Guarantees: a JVM is known as one, and that its objects are not seen is said.
/// Needs: java.
#[test]
fn jvm() {
    let room = tempfile::tempdir().unwrap();
    let source = room.path().join("Wait.java");
    std::fs::write(&source, JAVA).unwrap();
    let running = Running::start(Command::new("java").arg(source));
    let points = running.points();
    assert_eq!(points.runtime, Runtime::Jvm);
    assert!(says(&points, "JVM heap") && says(&points, "made at run time"), "{:?}", points.blind_spots);
    assert!(families(&points).contains(&Family::Glibc));
}
