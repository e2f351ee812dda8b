//! Programs of the tests: built, run until they say that they are ready, ended with the test.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mlh_stacks::modules::Modules;
use mlh_targets::points::{Family, Image, Points, Wish, find};

/// Says that it is ready, does what `STEP` says for each line it is given, and says so again.
pub(crate) const C: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef STEP
#define STEP
#endif
#ifndef HEAD
#define HEAD
#endif
HEAD
void *volatile block;
int main(void) {
    block = malloc(100);
    char line[64];
    do {
        puts("ready");
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin)) break;
        STEP;
    } while (1);
    free(block);
    return 0;
}
"#;

/// Builds `source` in `folder`; the tool's own words where it fails.
pub(crate) fn build(folder: &Path, compiler: &str, source: &str, arguments: &[&str]) -> PathBuf {
    let extension = if compiler.ends_with("++") { "cc" } else { "c" };
    let file = folder.join(format!("program.{extension}"));
    std::fs::write(&file, source).unwrap();
    let program = folder.join("program");
    let output = Command::new(compiler)
        .arg("-O2")
        .arg(&file)
        .arg("-o")
        .arg(&program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|e| panic!("{compiler}: {e}"));
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
    program
}

/// A program that runs.
pub(crate) struct Running {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Returns once it has said `ready`.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self { child, input, output };
        running.wait();
        running
    }

    fn wait(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
    }

    /// Lets it make its next step.
    pub(crate) fn step(&mut self) {
        self.input.write_all(b"\n").unwrap();
        self.input.flush().unwrap();
        self.wait();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn points(&self) -> Points {
        let modules = Modules::read(self.pid()).unwrap();
        find(self.pid(), &modules, &Wish { min_allocation_size: 0 })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The image whose name ends so.
pub(crate) fn image<'a>(points: &'a Points, name: &str) -> &'a Image {
    let of = |image: &&Image| image.name.file_name().is_some_and(|it| it.to_string_lossy().contains(name));
    points.images.iter().find(of).unwrap_or_else(|| panic!("no image {name} in {points:#?}"))
}

/// Whose allocators were found.
pub(crate) fn families(points: &Points) -> Vec<Family> {
    let mut families: Vec<_> = points.images.iter().map(|image| image.family).collect();
    families.sort_unstable();
    families.dedup();
    families
}
