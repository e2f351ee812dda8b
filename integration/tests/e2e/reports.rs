//! The files that `inspect` makes, of a server that leaks, in the programs that people open them with.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::process::Process;
use mlh_integration::scenario::{World, scenario};
use mlh_integration::sidecar::{executable, text};
use mlh_integration::{browser, compile, need};

/// What a slow machine may need beyond the length of a look.
const PATIENCE: Duration = Duration::from_secs(180);
/// The function that leaks, in `targets/cpp/session.cc`.
const CULPRIT: &str = "Session::remember";
/// A program may be called anything.
const NAME: &str = "api <img src=x onerror=alert(1)> \"server\"";
/// What has become of a report.
const MEASURE: &str = "
  const measure = () => {
    const box = (element) => { const {width, height} = element.getBoundingClientRect(); return {width, height}; };
    const one = (selector) => box(document.querySelector(selector));
    const frames = [...document.querySelectorAll('.flame g')];
    const blamed = frames.find((frame) => frame.textContent.startsWith('▶ Session::remember'));
    const [before, text] = [box(blamed.querySelector('rect')), blamed.querySelector('text').textContent];
    blamed.querySelector('rect').dispatchEvent(new MouseEvent('click', {bubbles: true}));
    return {
      chart: one('.chart'), curve: one('.curve'), flame: one('.flame'), frames: frames.length,
      blamed: before, enlarged: box(blamed.querySelector('rect')), text,
      page: document.documentElement.scrollWidth, window: innerWidth,
      images: document.images.length, scripts: document.scripts.length,
      loaded: performance.getEntriesByType('resource').length,
      title: document.title, background: getComputedStyle(document.body).backgroundColor,
    };
  };
";

/// A server that leaks, and the file that a look of it makes.
fn report(world: &World, format: &str) -> anyhow::Result<(Process, PathBuf)> {
    let program = world.path(NAME);
    if !program.exists() {
        compile::cpp(world, NAME, "cpp/session.cc", &[])?;
    }
    let server = world.spawn(&format!("server-{format}"), &mut Command::new(program))?;
    let mut look = Command::new(executable()?);
    look.args([
        "inspect",
        "--mode",
        "debug",
        "--duration",
        "8s",
        "-o",
        format,
        "--pid",
        &server.pid().to_string(),
    ]);
    let mut look = world.spawn(format, &mut look)?;
    let status = look.end(PATIENCE)?;
    ensure!(status.success(), "inspect -o {format}: {status}: {}", look.stderr());
    let file = world.path(&format!("report.{format}"));
    std::fs::rename(world.path(&format!("{format}.out")), &file)?;
    Ok((server, file))
}

/// Guarantees: the page of a real look opens in a browser with no error and nothing loaded or run that is not its own; the
/// culprit is in it, chart and flame graph have a size, a click enlarges a frame, and it fits a wide and a narrow window, in
/// light and in dark. The name of the program is text.
/// Needs: eBPF, g++, chromium.
#[test]
fn page() {
    scenario(|world| {
        need::ebpf()?;
        need::program("chromium")?;
        let (_server, file) = report(world, "html")?;
        let page = std::fs::read_to_string(&file)?;
        for window in [(1600, 1200), (400, 800)] {
            let (seen, opened) = browser::measure(world, &page, MEASURE, window)?;
            ensure!(opened.dom.contains(CULPRIT) && opened.dom.contains("session.cc:"), "{}", opened.dom);
            let size = |name: &str, side: &str| seen[name][side].as_f64().unwrap_or_default();
            for name in ["chart", "curve", "flame"] {
                ensure!(size(name, "width") > 200.0 && size(name, "height") > 20.0, "{name}: {seen}");
            }
            ensure!(seen["frames"].as_u64() > Some(5) && size("blamed", "width") > 100.0, "{seen}");
            ensure!(size("enlarged", "width") >= size("flame", "width") - 1.0, "{seen}");
            ensure!(seen["text"].as_str().is_some_and(|text| text.contains(CULPRIT)), "{seen}");
            ensure!(seen["page"].as_f64() <= seen["window"].as_f64(), "it is wider than the window: {seen}");
            // one script is the page's, one is this test's
            let foreign = ["images", "loaded"].map(|name| seen[name].as_u64());
            ensure!(foreign == [Some(0), Some(0)] && seen["scripts"] == 2, "{seen}");
            ensure!(seen["trouble"].as_array().is_some_and(Vec::is_empty), "{seen}");
            ensure!(seen["title"].as_str().is_some_and(|title| title.contains("<img src=x")), "{seen}");
            // the console is heard: it has what this test said, and nothing else
            ensure!(
                opened.console.len() == 1 && opened.console[0].contains("measured"),
                "{:?}",
                opened.console
            );
        }
        let picture = browser::picture(world, &file, (1280, 1600))?;
        let size = std::fs::metadata(picture)?.len();
        ensure!(size > 20_000, "a picture of {size} bytes");
        Ok(())
    });
}

/// Guarantees: the page's own policy holds in a browser: a script that had come in all the same would not run.
/// Needs: eBPF, g++, chromium.
#[test]
fn policy() {
    scenario(|world| {
        need::ebpf()?;
        need::program("chromium")?;
        let (_server, file) = report(world, "html")?;
        let intruder =
            "<main><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">";
        let page = std::fs::read_to_string(&file)?.replacen("<main>", intruder, 1);
        let (seen, _) = browser::measure(world, &page, MEASURE, (1280, 800))?;
        ensure!(seen["title"] != "taken" && seen["scripts"] == 3, "{seen}");
        let trouble = seen["trouble"].to_string();
        ensure!(trouble.contains("script-src") && trouble.contains("img-src"), "{seen}");
        Ok(())
    });
}

/// Guarantees: a browser opens the flame graph as the picture that it is, with the culprit marked, and without an error.
/// Needs: eBPF, g++, chromium.
#[test]
fn flame_graph() {
    scenario(|world| {
        need::ebpf()?;
        need::program("chromium")?;
        let (_server, file) = report(world, "svg")?;
        let opened = browser::open(world, &file, (1280, 800))?;
        ensure!(opened.console.is_empty(), "{:?}", opened.console);
        ensure!(!opened.dom.contains("This page contains the following errors"), "{}", opened.dom);
        ensure!(opened.dom.contains(&format!("▶ {CULPRIT} (session.cc:")), "{}", opened.dom);
        // its script has run: it has taken the width of the window
        ensure!(opened.dom.contains("id=\"frames\" x=\"10\" width=\"1260\""), "{}", opened.dom);
        Ok(())
    });
}

/// Guarantees: `go tool pprof` opens the profile, tells what it is a profile of, and finds the culprit in each of its values, with
/// file and line.
/// Needs: eBPF, g++, go.
#[test]
fn profile() {
    scenario(|world| {
        need::ebpf()?;
        let go = need::program("go")?;
        let (_server, file) = report(world, "pprof")?;
        let pprof = |arguments: &[&str]| -> anyhow::Result<String> {
            let mut command = Command::new(&go);
            command.args(["tool", "pprof"]).args(arguments).arg(&file);
            command.env("PPROF_TMPDIR", world.folder()).env("GOTOOLCHAIN", "local");
            let output = command.output()?;
            ensure!(output.status.success(), "pprof {arguments:?}: {}", text(&output.stderr));
            Ok(text(&output.stdout))
        };
        for value in ["inuse_space", "inuse_objects", "alloc_space", "alloc_objects"] {
            let told = pprof(&["-top", "-cum", &format!("-sample_index={value}")])?;
            ensure!(told.contains(&format!("Type: {value}")) && told.contains("<img src=x"), "{told}");
            // flat, its share, the sum of shares, with callees, its share, the function
            let line = told.lines().find(|line| line.contains(CULPRIT)).context(told.clone())?;
            let share =
                line.split_whitespace().nth(4).and_then(|share| share.strip_suffix('%')?.parse::<f64>().ok());
            ensure!(share.is_some_and(|share| share > 1.0), "{told}");
        }
        let lines = pprof(&["-top", "-cum", "-lines"])?;
        ensure!(lines.contains("session.cc:"), "{lines}");
        let comments = pprof(&["-comments"])?;
        ensure!(comments.contains("(pid ") && comments.contains("memory-leak-hunter"), "{comments}");
        ensure!(pprof(&["-tags"])?.contains("operation"), "what it was allocated by is not told");
        Ok(())
    });
}

/// Guarantees: bytes are kept from a terminal, with exit code 1 and a hint, before anything is looked at.
/// Needs: script.
#[test]
fn no_bytes_for_a_terminal() {
    scenario(|_| {
        let terminal = need::program("script")?;
        let command = format!("'{}' inspect --pid 1 -o pprof", executable()?.display());
        let output = Command::new(terminal).args(["-qec", &command, "/dev/null"]).output()?;
        ensure!(output.status.code() == Some(1), "{:?}", output.status);
        ensure!(text(&output.stdout).contains("> heap.pb.gz"), "{}", text(&output.stdout));
        Ok(())
    });
}
