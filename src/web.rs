//! HTTP, and the only async code. Decodes a request, makes one hop to a lane, delivers the answer; decides nothing
//! about protocol.

mod body;
mod client_address;
mod connection;
mod cors;
mod documents;
mod error;
mod extract;
pub mod gate;
mod headers;
mod health;
mod oauth;
mod observe;
mod openapi;
mod pages;
mod registration;
mod routes;
mod seats;
mod server;
mod status;
pub mod trial;

use std::sync::Arc;

pub use server::{Server, build};

use crate::app::{App, Lanes};
use crate::jobs::Health;

/// What every handler has at hand.
pub struct State {
    /// The parts.
    pub app: Arc<App>,
    /// The threads.
    pub lanes: Lanes,
    /// What the last check found.
    pub health: Arc<Health>,
    seats: seats::Seats,
    look: pages::Look,
}
