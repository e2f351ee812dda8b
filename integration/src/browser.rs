//! Chromium without a window, which opens files of this machine and nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::need;
use crate::scenario::World;

/// What a slow machine may need to start it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Says what a page has become, once it is loaded: `page.measured` of what was asked for.
const PROBE: &str = "
  const trouble = [];
  addEventListener('securitypolicyviolation', (event) => trouble.push(event.violatedDirective + ' ' + event.blockedURI));
  addEventListener('error', (event) => trouble.push(String(event.message)));
  addEventListener('load', () => {
    const said = document.createElement('pre');
    said.id = 'measured';
    said.textContent = JSON.stringify({trouble, ...measure()});
    document.body.append(said);
    console.info('measured');
  });
";

/// A page as it was after its scripts had run.
pub struct Opened {
    /// Its elements, as text.
    pub dom: String,
    /// What it wrote to the browser's console, errors of any kind among it.
    pub console: Vec<String>,
}

/// Opens a file in a window of so many pixels.
///
/// # Errors
/// A [`Skip`](crate::need::Skip) without Chromium; it fails.
pub fn open(world: &World, file: &Path, window: (u32, u32)) -> anyhow::Result<Opened> {
    let (dom, log) = run(world, file, window, &["--dump-dom".to_owned()])?;
    let console = log.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
    Ok(Opened { dom, console })
}

/// A picture of a file, as PNG.
///
/// # Errors
/// As [`open`].
pub fn picture(world: &World, file: &Path, window: (u32, u32)) -> anyhow::Result<PathBuf> {
    let picture = file.with_extension("png");
    run(
        world,
        file,
        window,
        &[format!("--screenshot={}", picture.display()), "--hide-scrollbars".to_owned()],
    )?;
    Ok(picture)
}

/// Opens a page of ours, and has a function `measure` of its own say what has become of it. What went wrong in the page, such
/// as what its policy did not let happen, is the member `trouble`.
///
/// # Errors
/// As [`open`]; the page is not one whose scripts have a nonce.
pub fn measure(
    world: &World,
    page: &str,
    measure: &str,
    window: (u32, u32),
) -> anyhow::Result<(Value, Opened)> {
    let (_, rest) = page.split_once("<style nonce=\"").context("a page whose style has a nonce")?;
    let nonce = rest.split('"').next().unwrap_or_default();
    let probe = format!("<script nonce=\"{nonce}\">{{ {measure} {PROBE} }}</script><style nonce=");
    let file = world.write("measured.html", &page.replacen("<style nonce=", &probe, 1))?;
    let opened = open(world, &file, window)?;
    let (_, rest) = opened.dom.split_once("<pre id=\"measured\">").context("nothing was measured")?;
    let said = rest.split("</pre>").next().unwrap_or_default();
    let said = said.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    Ok((serde_json::from_str(&said).with_context(|| said.clone())?, opened))
}

fn run(world: &World, file: &Path, window: (u32, u32), what: &[String]) -> anyhow::Result<(String, String)> {
    let mut command = Command::new(need::program("chromium")?);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]);
    command.args(["--disable-background-networking", "--disable-dev-shm-usage", "--enable-logging=stderr"]);
    command.arg(format!("--user-data-dir={}", world.path("chromium").display()));
    command.arg(format!("--window-size={},{}", window.0, window.1)).args(what);
    command.arg(format!("file://{}", file.display()));
    let mut browser = world.spawn("browser", &mut command)?;
    let status = browser.end(PATIENCE)?;
    ensure!(status.success(), "chromium: {status}: {}", browser.stderr());
    Ok((browser.stdout(), browser.stderr()))
}
