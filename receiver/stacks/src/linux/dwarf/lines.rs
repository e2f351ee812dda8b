//! A unit's table of lines.

use gimli::{DebugLineOffset, IncompleteLineProgram, Reader as _, Result, Section as _};

use super::entries::{CodeAt, Dwarf, Unit};
use crate::linux::pages::Window;

/// Bytes of what stands before the lines, the source files for the most part: as they are read they take many times that.
const MAX_HEADER: usize = 128 * 1024;
/// Rows that are kept: 6 MiB. A longer table is run anew for each address.
const MAX_ROWS: usize = 512 * 1024;
/// Bytes of a path.
const MAX_PATH: usize = 4096;
/// In memory; what else a unit has is little beside it.
const PER_FILE: usize = 256;
/// Stands for the end of a run of addresses, in the place of a file.
const END: u32 = u32::MAX;

/// Which line an address belongs to.
pub(super) struct Lines {
    program: IncompleteLineProgram<Window>,
    /// By address. `None`: there are too many.
    rows: Option<Vec<Row>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    address: u64,
    file: u32,
    /// 0: of none.
    line: u32,
}

impl Lines {
    /// Reads the table of a unit.
    pub(super) fn read(dwarf: &Dwarf, unit: &Unit, at: DebugLineOffset, code: &CodeAt) -> Result<Self> {
        check_header(dwarf.debug_line.reader().clone(), at.0)?;
        let (folder, name) = (unit.comp_dir.clone(), unit.name.clone());
        let program = dwarf.debug_line.program(at, unit.header.address_size(), folder, name)?;
        dwarf.debug_line.reader().meter().take(names(&program) * PER_FILE)?;
        let mut rows = Vec::new();
        let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
        let mut begin = 0;
        let mut too_many = false;
        run(&program, |row| {
            too_many |= rows.len() >= MAX_ROWS;
            if too_many {
                return false;
            }
            let is_end = row.file == END;
            if let Some(last) = rows.get(begin..).and_then(<[Row]>::last).copied() {
                if last.address == row.address {
                    rows.pop();
                } else if !is_end && (last.file, last.line) == (row.file, row.line) {
                    return true;
                }
            }
            rows.push(row);
            if is_end {
                if rows.get(begin).is_some_and(|first| code.contains(first.address)) {
                    runs.push(begin..rows.len());
                } else {
                    rows.truncate(begin);
                }
                begin = rows.len();
            }
            true
        });
        if too_many {
            return Ok(Self { program, rows: None });
        }
        runs.sort_unstable_by_key(|run| rows.get(run.start).map(|first| first.address));
        let sorted = runs.iter().flat_map(|run| rows.get(run.clone()).unwrap_or_default()).copied();
        Ok(Self { rows: Some(sorted.collect()), program })
    }

    /// File and line of an address, each if there is one.
    pub(super) fn at(&self, address: u64) -> Option<(u64, Option<u32>)> {
        let row = match &self.rows {
            Some(rows) => {
                let above = rows.partition_point(|row| row.address <= address);
                *rows.get(above.checked_sub(1)?)?
            }
            None => self.search(address)?,
        };
        (row.file != END).then_some((row.file.into(), Some(row.line).filter(|line| *line != 0)))
    }

    fn search(&self, address: u64) -> Option<Row> {
        let (mut before, mut found) = (None::<Row>, None);
        run(&self.program, |row| {
            found = before.filter(|it| (it.address..row.address).contains(&address));
            before = Some(row).filter(|row| row.file != END);
            found.is_none()
        });
        found
    }

    /// The path of a source file.
    pub(super) fn file(&self, dwarf: &Dwarf, unit: &Unit, index: u64) -> Option<String> {
        let header = self.program.header();
        let file = header.file(index)?;
        let text = |value| Some(dwarf.attr_string(unit, value).ok()?.text(MAX_PATH));
        let mut path = unit.comp_dir.as_ref().map(|folder| folder.text(MAX_PATH)).unwrap_or_default();
        // By definition the unit's own folder.
        if file.directory_index() != 0 {
            push(&mut path, &file.directory(header).and_then(text).unwrap_or_default());
        }
        push(&mut path, &text(file.path_name())?);
        Some(path)
    }

    /// Bytes that it takes, roughly.
    pub(super) fn size(&self) -> usize {
        names(&self.program) * PER_FILE + self.rows.as_ref().map_or(0, |rows| rows.len() * size_of::<Row>())
    }
}

/// Files and folders that are named before the lines.
fn names(program: &IncompleteLineProgram<Window>) -> usize {
    program.header().file_names().len() + program.header().include_directories().len()
}

/// Runs a table's program until there is no more, or none is wanted. Rows of one address are told apart by their order: the
/// last one counts.
fn run(program: &IncompleteLineProgram<Window>, mut tell: impl FnMut(Row) -> bool) {
    let mut rows = program.clone().rows();
    while let Ok(Some((_, row))) = rows.next_row() {
        let file = u32::try_from(row.file_index()).unwrap_or(END - 1).min(END - 1);
        let line = row.line().and_then(|line| u32::try_from(line.get()).ok()).unwrap_or_default();
        let file = if row.end_sequence() { END } else { file };
        if !tell(Row { address: row.address(), file, line }) {
            return;
        }
    }
}

/// Before it is read: room is made for as many files as are promised.
fn check_header(mut table: Window, at: usize) -> Result<()> {
    table.skip(at)?;
    let (_, format) = table.read_initial_length()?;
    if table.read_u16()? >= 5 {
        table.skip(2)?;
    }
    if table.read_length(format)? > MAX_HEADER { Err(gimli::Error::Io) } else { Ok(()) }
}

fn push(path: &mut String, more: &str) {
    if more.starts_with('/') {
        path.clear();
    } else if !path.is_empty() && !path.ends_with('/') && !more.is_empty() {
        path.push('/');
    }
    path.push_str(more);
}
