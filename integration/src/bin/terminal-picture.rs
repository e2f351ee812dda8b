//! Draws what a program has printed on a terminal, colours included, as SVG: `terminal-picture LABEL <text >picture`.
//!
//! Knows what this repository's programs use of terminals: `ESC [ ... m` with bold and the eight colours. What else begins
//! with ESC is left out.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};

/// Characters a line.
const COLUMNS: usize = 118;
/// Pixels: of a line, of a character, and around all of it.
const LINE: usize = 19;
const WIDTH: f64 = 7.83;
const MARGIN: usize = 16;

fn main() -> std::io::Result<()> {
    let label = std::env::args().nth(1).unwrap_or_default();
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    std::io::stdout().write_all(draw(&label, &text).as_bytes())
}

/// Characters that look alike.
#[derive(Clone, Copy, PartialEq)]
struct Look {
    bold: bool,
    colour: &'static str,
}

const PLAIN: Look = Look { bold: false, colour: "#e6edf3" };

impl Look {
    /// After one of the numbers between `ESC [` and `m`.
    fn after(self, code: &str) -> Self {
        let colour = match code {
            "0" | "" => return PLAIN,
            "1" => return Self { bold: true, ..self },
            "2" | "90" => "#8b949e",
            "31" => "#ff7b72",
            "32" => "#7ee787",
            "33" => "#d29922",
            "34" => "#58a6ff",
            "35" => "#d2a8ff",
            "36" => "#39c5cf",
            "39" => PLAIN.colour,
            _ => return self,
        };
        Self { colour, ..self }
    }
}

fn draw(label: &str, text: &str) -> String {
    let lines = laid_out(text);
    let width = (COLUMNS as f64 * WIDTH) as usize + 2 * MARGIN;
    let height = lines.len() * LINE + 2 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"{}\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#0d1117\"/>\n<g font-family=\"ui-monospace,\
         SFMono-Regular,Menlo,Consolas,monospace\" font-size=\"13\">\n",
        escaped(label)
    );
    for (index, line) in lines.iter().enumerate() {
        let y = MARGIN + index * LINE + 14;
        let mut spans = String::new();
        for run in line.chunk_by(|(_, one), (_, other)| one == other) {
            let Some((_, look)) = run.first() else { continue };
            let text: String = run.iter().map(|(char, _)| *char).collect();
            let bold = if look.bold { " font-weight=\"bold\"" } else { "" };
            // writing to a string cannot fail
            let _ = write!(spans, "<tspan fill=\"{}\"{bold}>{}</tspan>", look.colour, escaped(&text));
        }
        if !spans.is_empty() {
            let _ = writeln!(svg, "<text x=\"{MARGIN}\" y=\"{y}\">{spans}</text>");
        }
    }
    svg + "</g>\n</svg>\n"
}

/// The lines of the terminal, each character with its look.
fn laid_out(text: &str) -> Vec<Vec<(char, Look)>> {
    let mut lines: Vec<Vec<(char, Look)>> = vec![Vec::new()];
    let mut look = PLAIN;
    let mut rest = text.trim_end().chars();
    while let Some(char) = rest.next() {
        match char {
            '\n' => lines.push(Vec::new()),
            '\x1b' => {
                let sequence: String = rest.by_ref().take_while(|char| !char.is_ascii_alphabetic()).collect();
                let codes = sequence.strip_prefix('[').unwrap_or("");
                look = codes.split(';').fold(look, Look::after);
            }
            char if char.is_control() => {}
            char => {
                if let Some(line) = lines.last_mut() {
                    line.push((char, look));
                }
            }
        }
    }
    lines.into_iter().flat_map(folded).collect()
}

/// What has no room goes on below, from a space on where there is one.
fn folded(mut line: Vec<(char, Look)>) -> Vec<Vec<(char, Look)>> {
    let mut lines = Vec::new();
    while line.len() > COLUMNS {
        let space = line[..COLUMNS].iter().rposition(|(char, _)| *char == ' ');
        let rest = line.split_off(space.map_or(COLUMNS, |space| space + 1));
        lines.push(std::mem::replace(&mut line, rest));
    }
    lines.push(line);
    lines
}

/// Spaces that stay as many as they are.
fn escaped(text: &str) -> String {
    let text = text.replace(' ', "\u{a0}");
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: colours begin and end where the terminal's do, markup is text, spaces stay, long lines go on below.
    #[test]
    fn lines() {
        let svg = draw("a \"label\"", "\x1b[1;31mred <b>\x1b[0m  plain\r\n\x1b[32mgreen\x1b[39m\n");
        assert!(svg.contains("aria-label=\"a\u{a0}&quot;label&quot;\""), "{svg}");
        let red =
            "<text x=\"16\" y=\"30\"><tspan fill=\"#ff7b72\" font-weight=\"bold\">red\u{a0}&lt;b&gt;</tspan>";
        let plain = "<tspan fill=\"#e6edf3\">\u{a0}\u{a0}plain</tspan></text>";
        assert!(svg.contains(&format!("{red}{plain}")), "{svg}");
        assert!(svg.contains("y=\"49\"><tspan fill=\"#7ee787\">green</tspan>"), "{svg}");
        let lengths = |text: &str| laid_out(text).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&"x".repeat(COLUMNS + 1)), [COLUMNS, 1]);
        assert_eq!(lengths(&format!("a word {}", "x".repeat(COLUMNS - 3))), [7, COLUMNS - 3]);
    }
}
