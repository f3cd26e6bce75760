//! A health check for containers that have nothing else to make one with.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use url::Url;

use super::CommandError;

const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks `url`, http only; any answer but 200 is a failure.
pub(super) fn run(text: &str) -> Result<(), CommandError> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "http");
    let url = url.ok_or(CommandError::Usage("--url must be an http URL"))?;
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80));
    let address = (host.trim_matches(['[', ']']), port).to_socket_addrs()?.next();
    let address = address.ok_or(CommandError::Usage("--url names no host"))?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n", url.path())?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(CommandError::NotReady(status.to_owned())) }
}
