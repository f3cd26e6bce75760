//! Every integration test, in one binary: black-box over HTTP and the command line, on the backend that
//! `COUNTERSIGN_TEST_BACKEND` names. `scripts/test` runs it on both.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    clippy::duration_suboptimal_units,
    clippy::unchecked_time_subtraction,
    clippy::format_collect,
    missing_docs,
    reason = "a test fails by panicking, reads its environment and waits for real things"
)]

mod admin;
mod app;
mod architecture;
mod browser;
mod cli;
mod client_key;
mod client_metadata;
mod connections;
mod document_server;
mod drills;
mod example_clients;
mod examples;
mod examples_nginx;
mod gate;
mod interop;
mod interop_apache;
mod interop_clients;
mod key_algorithm;
mod key_faults;
mod key_life;
mod keys;
mod login;
mod model;
mod oauth;
mod openapi;
mod operation;
mod pages;
mod pages_in_chromium;
mod postgres;
mod proofs;
mod readme;
mod receiver;
mod refusals;
mod rehearsal;
mod relying_party;
mod rotation_interop;
mod settings;
#[cfg(debug_assertions)]
mod simulation;
mod spec_coverage;
mod statements;
mod status;
mod store;
mod verify_suite;
