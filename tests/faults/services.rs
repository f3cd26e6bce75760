//! The PostgreSQL and the Redis that `scripts/services` started for this run: found by the variables that it exports,
//! frozen and continued by signals, ended, and started again as they were.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection};

use crate::process::{self, Signal};

/// A variable that `scripts/test` sets; without it the row fails rather than passing on nothing.
fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this by scripts/test --faults"))
}

/// A server that can be killed and started again with the arguments that it had.
struct Service {
    pid: u32,
    arguments: Vec<String>,
    user: (u32, u32),
    ours: Option<Child>,
}

impl Service {
    fn found(variable: &str) -> Self {
        let pid = required(variable).parse().unwrap();
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let arguments = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        let arguments = arguments.map(|word| String::from_utf8(word.to_vec()).unwrap()).collect();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let id = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Self { pid, arguments, user: (id("Uid:"), id("Gid:")), ours: None }
    }

    /// Sends a signal to it and to its children.
    fn signal_all(&self, signal: Signal) {
        for pid in process::children(self.pid).into_iter().chain([self.pid]) {
            process::signal(pid, signal);
        }
    }

    fn wait_until_gone(&mut self) {
        if let Some(mut child) = self.ours.take() {
            let _ = child.wait();
        }
        let until = Instant::now() + Duration::from_secs(20);
        while process::is_alive(self.pid) && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
        assert!(!process::is_alive(self.pid), "a service did not end");
    }

    fn start_again(&mut self) {
        // It ends with this program, however that ends.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "INT", "--"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if process::is_root() {
            command.uid(self.user.0).gid(self.user.1);
        }
        let child = command.spawn().unwrap();
        self.pid = child.id();
        self.ours = Some(child);
    }
}

/// The PostgreSQL server.
pub struct Postgres {
    url: url::Url,
    service: Mutex<Service>,
}

impl Postgres {
    /// The server that the run was given.
    pub fn of_the_run() -> &'static Self {
        static SERVER: LazyLock<Postgres> = LazyLock::new(|| Postgres {
            url: required("COUNTERSIGN_TEST_POSTGRES_URL").parse().unwrap(),
            service: Mutex::new(Service::found("COUNTERSIGN_TEST_POSTGRES_PID")),
        });
        &SERVER
    }

    fn service(&self) -> MutexGuard<'_, Service> {
        self.service.lock().unwrap()
    }

    pub fn url_of(&self, database: &str) -> String {
        let mut url = self.url.clone();
        url.set_path(database);
        url.to_string()
    }

    pub fn admin(&self, sql: &str) {
        PgConnection::establish(self.url.as_str()).unwrap().batch_execute(sql).unwrap();
    }

    /// The same where it does not matter whether it worked.
    pub fn try_admin(&self, sql: &str) {
        if let Ok(mut conn) = PgConnection::establish(self.url.as_str()) {
            let _ = conn.batch_execute(sql);
        }
    }

    /// `pg_ctl stop -m immediate`: every process of it is gone, nothing was tidied up.
    pub fn stop_immediately(&self) {
        let mut service = self.service();
        process::signal(service.pid, Signal::QUIT);
        service.wait_until_gone();
    }

    /// Starts it again, and waits until it takes connections: it has its crash to recover from.
    pub fn start_again(&self) {
        self.service().start_again();
        let until = Instant::now() + Duration::from_secs(30);
        while PgConnection::establish(self.url.as_str()).is_err() {
            assert!(Instant::now() < until, "PostgreSQL did not come back");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops every process of it where it stands. The kernel goes on taking bytes for them.
    pub fn freeze(&self) {
        self.service().signal_all(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.service().signal_all(Signal::CONT);
    }
}

/// Ends what this run started itself; what `scripts/services` started it also ends.
pub fn stop_our_own() {
    for service in [&Postgres::of_the_run().service, &Redis::of_the_run().service] {
        let mut service = service.lock().unwrap();
        if service.ours.is_some() {
            process::signal(service.pid, Signal::INT);
            service.wait_until_gone();
        }
    }
}

/// After a row that broke off half way: whatever it froze goes on.
pub fn thaw_everything() {
    Postgres::of_the_run().thaw();
    Redis::of_the_run().thaw();
}

/// The Redis server.
pub struct Redis {
    pub address: SocketAddr,
    service: Mutex<Service>,
}

impl Redis {
    /// The server that the run was given.
    pub fn of_the_run() -> &'static Self {
        static SERVER: LazyLock<Redis> = LazyLock::new(|| {
            let url: url::Url = required("COUNTERSIGN_TEST_REDIS_URL").parse().unwrap();
            let address = SocketAddr::from(([127, 0, 0, 1], url.port().unwrap()));
            let mut service = Service::found("COUNTERSIGN_TEST_REDIS_PID");
            // Redis writes a title over its arguments.
            let arguments = format!("redis-server --bind 127.0.0.1 --port {} --appendonly no --save", address.port());
            service.arguments = arguments.split(' ').chain([""]).map(str::to_owned).collect();
            Redis { address, service: Mutex::new(service) }
        });
        &SERVER
    }

    /// Ends it, and with it every connection.
    pub fn end(&self) {
        self.say("SHUTDOWN NOSAVE");
        self.service.lock().unwrap().wait_until_gone();
    }

    pub fn start_again(&self) {
        self.service.lock().unwrap().start_again();
        let until = Instant::now() + Duration::from_secs(10);
        while !self.say("PING").is_some_and(|answer| answer.starts_with("+PONG")) {
            assert!(Instant::now() < until, "Redis did not come back");
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn freeze(&self) {
        self.service.lock().unwrap().signal_all(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.service.lock().unwrap().signal_all(Signal::CONT);
    }

    /// Sends one command without arguments.
    pub fn say(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut answer = [0; 64];
        let count = stream.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..count]).into_owned())
    }
}
