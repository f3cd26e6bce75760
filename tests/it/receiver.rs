//! A client's own server, as far as we call it: it keeps what it is sent and answers as the test wants.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What it answers when it does not answer at all.
pub const SILENCE: u16 = 0;
/// What it answers when it goes on answering, a header every half second.
pub const DRIP: u16 = 1;

/// A request as it came: its line, and its body.
pub type Received = (String, String);

pub struct Receiver {
    pub base: String,
    received: Arc<Mutex<Vec<Received>>>,
    status: Arc<AtomicU16>,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (received, status) = (Arc::new(Mutex::default()), Arc::new(AtomicU16::new(200)));
        let (keeps, answers) = (Arc::clone(&received), Arc::clone(&status));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (keeps, answers) = (keeps.clone(), answers.clone());
                std::thread::spawn(move || take(stream, &keeps, &answers));
            }
        });
        Self { base, received, status }
    }

    /// From now on it answers so.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Waits until so many requests came.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        let began = Instant::now();
        while self.received().len() < count {
            assert!(began.elapsed() < Duration::from_secs(20), "{} of {count} requests came", self.received().len());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.received()
    }
}

fn take(stream: TcpStream, keeps: &Mutex<Vec<Received>>, answers: &AtomicU16) {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).unwrap();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let header = header.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    keeps.lock().unwrap().push((line.trim_end().to_owned(), String::from_utf8(body).unwrap()));
    let status = answers.load(Ordering::SeqCst);
    if status == SILENCE {
        std::thread::sleep(Duration::from_secs(30));
        return;
    }
    if status == DRIP {
        let _ = reader.get_mut().write_all(b"HTTP/1.1 200 X\r\n");
        while reader.get_mut().write_all(b"X-More: x\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(500));
        }
        return;
    }
    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = reader.get_mut().write_all(answer.as_bytes());
}
