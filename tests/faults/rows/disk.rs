//! F-13: the embedded database's disk is full for a while.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::{must_recover, work_for};
use crate::fleet::{Fleet, Pace};
use crate::http;
use crate::instance::{Site, targets};
use crate::process;
use crate::report::Run;
use crate::watch::{Watch, failed};

/// A file system of eight mebibytes; dropping it unmounts it.
struct SmallDisk {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The server's user has to get through.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let path = folder.path().join("disk");
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&path).status();
        assert!(mounted.unwrap().success(), "cannot mount a tmpfs");
        Self { path, _folder: folder }
    }

    /// Writes until there is no room left; how many bytes that were.
    fn fill(&self) -> u64 {
        let mut file = File::options().create(true).append(true).open(self.path.join("fill")).unwrap();
        for size in [65_536, 4_096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        file.metadata().unwrap().len()
    }

    fn free(&self) {
        fs::remove_file(self.path.join("fill")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

pub fn row(run: &mut Run) {
    if !process::is_root() {
        return run.must(false, "only root may mount a small file system");
    }
    let disk = SmallDisk::mount();
    let site = Site::in_folder(run.backend, &disk.path, &[]);
    let mut instance = site.start();
    let clients = Fleet::log_in(&targets(std::slice::from_ref(&instance)), &site.emails, run.either(8, 24), run.seed);
    let fleet = Fleet::start(clients, &Pace::every(20..100).with_revokes(0.05), run.seed);
    let documents = Watch::start(instance.address, http::get("/jwks.json"), Duration::from_millis(50));
    let rounds = run.either(1, 4);
    let mut freed_at = Instant::now();
    for round in 1..=rounds {
        work_for(run, &fleet, Duration::from_millis(300), "there is room");
        // A log that may begin anew has room enough for refreshes.
        let snapshot = site.database.hold_snapshot();
        let filled = disk.fill();
        run.progress(format_args!("round {round}: filled with {filled} bytes"));
        work_for(run, &fleet, run.either(Duration::from_secs(3), Duration::from_secs(8)), "the disk is full");
        disk.free();
        drop(snapshot);
        freed_at = Instant::now();
        thread::sleep(run.either(Duration::from_secs(2), Duration::from_secs(5)));
    }
    let clients = fleet.settle();
    run.must(instance.is_alive(), "the server ended");
    let documents = documents.end();
    run.must(failed(&documents) == 0, "the JWKS was not always served");
    let felt = clients.iter().flat_map(|client| &client.history).filter(|event| event.status() == Some(503)).count();
    run.figure(format_args!("{rounds} times full, {felt} answers 503"));
    run.must(felt > 0, "the full disk was not felt");
    must_recover(run, &clients, freed_at);
    run.judge(&clients, &site.database);
    // The database goes before its disk.
    drop(instance);
    drop(site);
}
