//! The log: pretty on a terminal, JSON otherwise, on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::settings::{Log, LogFormat, LogLevel};

/// Starts the log. Commands that are no servers say only what went wrong.
pub(super) fn start(settings: &Log, only_warnings: bool) {
    let level = match settings.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info if only_warnings => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Libraries may print what they are given; only our own lines are kept below their warnings.
    let targets = Targets::new().with_default(LevelFilter::WARN.min(level)).with_target("countersign", level);
    let pretty = match settings.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = if pretty { layer.boxed() } else { layer.json().flatten_event(true).boxed() };
    // A second start in one process keeps the first log.
    let _ = tracing_subscriber::registry().with(layer.with_filter(targets)).try_init();
    std::panic::set_hook(Box::new(|panic| {
        // ASVS 16.5.4: where, never what: the message may hold anything.
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(at, error_id = "capacity.defect", "a defect ended one piece of work");
    }));
}
