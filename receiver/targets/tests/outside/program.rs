//! A program that does what it is told, a line at a time, and says when it has.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mlh_stacks::modules::Modules;
use mlh_targets::outside::{Reader, Source, readers};

pub(crate) struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Runs until it says that it is ready.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut program = Self { child, input, output };
        program.hear("ready");
        program
    }

    /// Tells it to do something, and waits until that is done.
    pub(crate) fn order(&mut self, order: &str) {
        writeln!(self.input, "{order}").unwrap();
        self.hear("done");
    }

    fn hear(&mut self, word: &str) {
        assert_eq!(self.line(), word);
    }

    /// Asks it something, and reads the answer.
    pub(crate) fn ask(&mut self, question: &str) -> String {
        writeln!(self.input, "{question}").unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What can be read of it.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let modules = Modules::read(self.pid()).unwrap();
        readers(self.pid(), &modules).iter().map(|reader| reader.source()).collect()
    }

    /// The reader of this source of it.
    pub(crate) fn reader(&self, source: Source) -> Box<dyn Reader> {
        let modules = Modules::read(self.pid()).unwrap();
        let found = readers(self.pid(), &modules).into_iter().find(|reader| reader.source() == source);
        found.unwrap_or_else(|| panic!("no reader of {source:?}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a program can be run. If not, the test is skipped.
pub(crate) fn is_there(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    if !there {
        eprintln!("SKIPPED: there is no {name}");
    }
    there
}
