//! The program's own log. Standard output holds results only, so it goes to standard error.

use std::io::{IsTerminal as _, Write};

use mlh_pipeline::config::{LogEncoding, LogLevel, LogSettings};
use tracing::Subscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

type Format = Box<dyn Layer<Registry> + Send + Sync>;
type Formatted = Layered<reload::Layer<Format, Registry>, Registry>;

/// Where a line goes, made for each.
type Out = fn() -> Box<dyn Write>;

/// The log, which can be set anew while it is written.
pub(super) struct Log {
    format: reload::Handle<Format, Registry>,
    level: reload::Handle<LevelFilter, Formatted>,
    out: Out,
    colours: bool,
}

impl Log {
    /// From now on every line of the program goes to standard error. For the beginning of the program, once.
    pub(super) fn to_stderr(settings: LogSettings) -> Self {
        let colours = std::io::stderr().is_terminal();
        let (subscriber, log) = Self::new(settings, || Box::new(std::io::stderr()), colours);
        subscriber.init();
        log
    }

    fn new(settings: LogSettings, out: Out, colours: bool) -> (impl Subscriber + Send + Sync, Self) {
        let (format, format_handle) = reload::Layer::new(format(settings.encoding, out, colours));
        let (level, level_handle) = reload::Layer::new(filter(settings.level));
        let subscriber = tracing_subscriber::registry().with(format).with(level);
        (subscriber, Self { format: format_handle, level: level_handle, out, colours })
    }

    /// The settings of another configuration.
    pub(super) fn set(&self, settings: LogSettings) {
        let format = format(settings.encoding, self.out, self.colours);
        let changed = self.format.reload(format).and_then(|()| self.level.reload(filter(settings.level)));
        if let Err(error) = changed {
            tracing::warn!(%error, "the log keeps its former settings");
        }
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    }
}

fn format(encoding: LogEncoding, out: Out, colours: bool) -> Format {
    let layer = fmt::layer().with_writer(out).with_ansi(colours).with_target(false);
    match encoding {
        LogEncoding::Json => layer.json().boxed(),
        LogEncoding::Console => layer.boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    struct Page;

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            WRITTEN.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written() -> String {
        String::from_utf8(std::mem::take(&mut *WRITTEN.lock().unwrap())).unwrap()
    }

    /// Guarantees: level and encoding decide what is written and how, and hold from the moment they are set anew.
    #[test]
    fn settings_can_change() {
        let say = || {
            tracing::debug!("small");
            tracing::info!("usual");
            tracing::error!("bad");
        };
        let settings = |level, encoding| LogSettings { level, encoding };
        let (subscriber, log) =
            Log::new(settings(LogLevel::Info, LogEncoding::Console), || Box::new(Page), false);
        tracing::subscriber::with_default(subscriber, || {
            say();
            let text = written();
            assert!(
                !text.contains("small") && text.contains(" INFO usual\n") && text.contains("ERROR bad\n"),
                "{text}"
            );
            log.set(settings(LogLevel::Error, LogEncoding::Json));
            say();
            let lines: Vec<serde_json::Value> =
                written().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert_eq!(
                (&lines[0]["level"], &lines[0]["fields"]["message"]),
                (&"ERROR".into(), &"bad".into())
            );
            log.set(settings(LogLevel::Debug, LogEncoding::Console));
            say();
            assert!(written().contains("DEBUG small\n"));
        });
    }
}
