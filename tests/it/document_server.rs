//! A client's own server, which publishes one document: its keys, or those that belong to its sector.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// Such a server; a few words make it misbehave.
pub struct DocumentServer {
    pub uri: String,
    body: Arc<Mutex<String>>,
    pub asked: Arc<AtomicUsize>,
}

impl DocumentServer {
    pub fn start(body: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}/document", listener.local_addr().unwrap());
        let (body, asked) = (Arc::new(Mutex::new(body.to_string())), Arc::new(AtomicUsize::new(0)));
        let (content, count) = (body.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 2048]);
                let body = content.lock().unwrap().clone();
                if body == "hang" {
                    std::mem::forget(stream);
                    continue;
                }
                if body == "drip" {
                    std::thread::spawn(move || {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n");
                        while stream.write_all(b" ").is_ok() {
                            std::thread::sleep(Duration::from_millis(500));
                        }
                    });
                    continue;
                }
                let head = match body.strip_prefix("redirect ") {
                    Some(to) => format!(
                        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                    ),
                    None => {
                        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                    }
                };
                let _ = stream.write_all(head.as_bytes());
            }
        });
        Self { uri, body, asked }
    }

    pub fn says(&self, body: &str) {
        body.clone_into(&mut self.body.lock().unwrap());
    }
}
