//! A health check for containers that have nothing else to make one with.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use url::Url;

use super::CommandError;
use crate::metrics::Endpoint;
use crate::settings::Settings;

const TIMEOUT: Duration = Duration::from_secs(3);

/// The readiness of the server that has these settings and listens on this machine.
pub(super) fn own_url(settings: &Settings) -> String {
    let mut address = settings.http.listen;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{address}/readyz")
}

/// Asks `url`, http only; any answer but 200 is a failure.
pub(super) fn run(text: &str) -> Result<(), CommandError> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "http");
    let mut url = url.ok_or(CommandError::Usage("--url must be an http URL"))?;
    if url.path() == "/" {
        url.set_path(Endpoint::Readyz.path());
    }
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80));
    let address = (host.trim_matches(['[', ']']), port).to_socket_addrs()?.next();
    let address = address.ok_or(CommandError::Usage("--url names no host"))?;
    let answer = ask(address, url.path(), &format!("{host}:{port}"));
    let answer = answer.map_err(|source| CommandError::Reach { url: text.to_owned(), source })?;
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(CommandError::NotReady(status.to_owned())) }
}

fn ask(address: SocketAddr, path: &str, host: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    Ok(answer)
}
