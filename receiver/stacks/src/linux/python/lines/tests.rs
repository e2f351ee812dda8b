use std::process::Command;

use super::*;

/// Prints of every code object of some modules of the standard library: its first line, its table, and the beginning and the line (0:
/// none) of each stretch of instructions, as the interpreter itself says.
const SAYS: &str = r#"
import sys, dis, importlib, types

def stretches(code):
    if hasattr(code, "co_lines"):
        return [(start, end, line or 0) for start, end, line in code.co_lines() if end > start]
    starts = list(dis.findlinestarts(code)) + [(len(code.co_code), None)]
    found = [(at, starts[i + 1][0], line) for i, (at, line) in enumerate(starts[:-1])]
    if found and found[0][0] > 0:
        found.insert(0, (0, found[0][0], code.co_firstlineno))
    return found

def show(code):
    table = code.co_linetable if hasattr(code, "co_linetable") else code.co_lnotab
    told = " ".join("%d-%d:%d" % it for it in stretches(code))
    print("%d;%s;%s" % (code.co_firstlineno, table.hex(), told))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            show(constant)

for name in ["json.decoder", "argparse", "threading", "typing", "subprocess", "asyncio.base_events", "decimal"]:
    module = importlib.import_module(name)
    with open(module.__file__, encoding="utf-8") as source:
        show(compile(source.read(), module.__file__, "exec"))
"#;

const VERSIONS: [(u32, LineTable); 7] = [
    (8, LineTable::Lnotab),
    (9, LineTable::Lnotab),
    (10, LineTable::Linetable),
    (11, LineTable::Positions),
    (12, LineTable::Positions),
    (13, LineTable::Positions),
    (14, LineTable::Positions),
];

/// Guarantees: for every instruction of some thousand functions the line is the one that the interpreter of each version says itself.
/// Needs: python3.8 to python3.14, those that there are: by name, or below `~/.pyenv/versions`.
#[test]
fn every_instruction_of_the_standard_library() {
    let mut tried = 0;
    for (minor, form) in VERSIONS {
        let Some(python) = crate::python::testing::interpreter(minor) else {
            eprintln!("SKIPPED: there is no python3.{minor}");
            continue;
        };
        let output = Command::new(python).args(["-c", SAYS]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (mut functions, mut instructions) = (0, 0);
        for said in text.lines() {
            let parts: Vec<_> = said.split(';').collect();
            let table: Vec<u8> = parts[1]
                .as_bytes()
                .chunks(2)
                .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
                .collect();
            let first_line = parts[0].parse().unwrap();
            functions += 1;
            for stretch in parts[2].split(' ') {
                let (range, line) = stretch.split_once(':').unwrap();
                let (start, end) = range.split_once('-').unwrap();
                let line = Some(line.parse::<u32>().unwrap()).filter(|line| *line > 0);
                for offset in (start.parse::<u64>().unwrap()..end.parse().unwrap()).step_by(2) {
                    let told = line_at(form, &table, first_line, offset);
                    assert_eq!(told, line, "3.{minor} at {offset} of {said}");
                    instructions += 1;
                }
            }
        }
        assert!(functions > 500 && instructions > 20_000, "3.{minor}: {functions}, {instructions}");
        tried += 1;
    }
    assert!(tried > 0, "there is no Python at all");
}

/// Guarantees: whatever the bytes are, and wherever in them is asked, there is an answer, soon.
#[test]
fn hostile_tables() {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state >> 33
    };
    for round in 0..3_000 {
        let table: Vec<u8> = (0..round % 97).map(|_| random().to_le_bytes()[0]).collect();
        for form in [LineTable::Lnotab, LineTable::Linetable, LineTable::Positions] {
            for offset in [0, 1, random(), u64::MAX] {
                for first_line in [0, 1, u32::MAX] {
                    std::hint::black_box(line_at(form, &table, first_line, offset));
                }
            }
        }
    }
    // a million entries that each add the most
    let far = [0xf8, 0x3e | 0x40, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x3f].repeat(1 << 17);
    assert_eq!(line_at(LineTable::Positions, &far, 1, u64::MAX), None);
    assert_eq!(line_at(LineTable::Lnotab, &[0, 0x80].repeat(1 << 19), 1, 9), None);
}
