//! The log: pretty on a terminal, JSON otherwise, on standard error.

use std::io::IsTerminal as _;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

use crate::settings::{Log, LogFormat, LogLevel};

/// Keeps the log's writer alive; what waits is written when it is dropped.
pub(super) struct LogWriter(#[expect(dead_code, reason = "dropping it is its use")] WorkerGuard);

/// Starts the log of a server.
pub(super) fn start(settings: &Log) -> LogWriter {
    // ASVS 16.5.4: a log that nobody reads holds nobody up; lines that find the queue full are lost.
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).finish(std::io::stderr());
    install(settings, level_of(settings.level), writer);
    LogWriter(guard)
}

/// Starts the log of a command: it says only what went wrong.
pub(super) fn start_for_command(settings: &Log) {
    let level = if settings.level == LogLevel::Info { LevelFilter::WARN } else { level_of(settings.level) };
    install(settings, level, std::io::stderr);
}

const fn level_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn install<W>(settings: &Log, level: LevelFilter, writer: W)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Libraries may print what they are given; only our own lines are kept below their warnings. What clients do to
    // their connections is no news at all.
    let targets = Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_target("countersign", level)
        .with_target("actix_http", LevelFilter::OFF);
    let pretty = match settings.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let layer = tracing_subscriber::fmt::layer().with_ansi(pretty).with_writer(writer);
    let layer = if pretty { layer.boxed() } else { layer.json().flatten_event(true).boxed() };
    // A second start in one process keeps the first log.
    let _ = tracing_subscriber::registry().with(layer.with_filter(targets)).try_init();
    std::panic::set_hook(Box::new(|panic| {
        // ASVS 16.5.4: where, never what: the message may hold anything.
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(at, error_id = "capacity.defect", "a defect ended one piece of work");
    }));
}
