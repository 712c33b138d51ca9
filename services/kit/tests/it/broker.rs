//! The server as a child: found, restarted with its data, and dead with its parent.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use callfold_kit::broker::{Broker, find_server};
use callfold_kit::bus::{Bus, BusConfig};
use callfold_kit::config::Environment;
use callfold_kit::testing::{TestNats, all_events, publish, wait_for};

use crate::support::ended;

/// Tells the process below that it is the one that starts a server, and where.
const FOLDER: &str = "CALLFOLD_TEST_BROKER_FOLDER";

fn program(folder: &Path, version: &str) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join("nats-server");
    std::fs::write(&path, format!("#!/bin/sh\necho 'nats-server: v{version}'\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn source(settings: &[(&str, &Path)]) -> BTreeMap<String, String> {
    settings
        .iter()
        .map(|(name, path)| ((*name).to_owned(), path.to_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn a_server_that_is_too_old_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let old = program(&folder.path().join("old"), "2.9.10");
    let odd = program(&folder.path().join("odd"), "");
    let good = program(&folder.path().join("good"), "2.10.27");
    let preview = program(&folder.path().join("preview"), "2.12.0-preview.1");
    let path = std::env::join_paths([&old, &odd, &good].map(|path| path.parent().unwrap())).unwrap();
    let found = find_server(&source(&[("PATH", Path::new(&path))])).unwrap();
    assert_eq!(found, good);
    let found = find_server(&source(&[
        ("CALLFOLD_NATS_SERVER", &old),
        ("PATH", Path::new(&path)),
    ]))
    .unwrap();
    assert_eq!(found, good);
    let found = find_server(&source(&[
        ("CALLFOLD_NATS_SERVER", &preview),
        ("PATH", Path::new(&path)),
    ]))
    .unwrap();
    assert_eq!(found, preview);
}

#[tokio::test]
async fn a_killed_server_comes_back_at_its_place_with_its_data() {
    let nats = TestNats::start().await;
    let bus = nats.bus().await;
    publish(&bus, &ended("CA1")).await;
    let (port, pid) = (nats.broker().port(), nats.broker().pid());
    nats.broker().kill_and_restart().await;
    assert_eq!(nats.broker().port(), port);
    assert_ne!(nats.broker().pid(), pid);
    wait_for("the connection", async || {
        bus.publish(&ended("CA2"), crate::support::WAIT).await.ok()
    })
    .await;
    assert_eq!(all_events(&bus).await.len(), 2);
}

#[tokio::test]
async fn a_stopped_server_stays_stopped_and_its_store_can_be_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = find_server(&Environment).unwrap();
    let start = async || {
        let (server, path) = (server.clone(), folder.path().to_owned());
        tokio::task::spawn_blocking(move || Broker::start(&server, &path).unwrap())
            .await
            .unwrap()
    };
    let broker = start().await;
    let bus = Bus::connect(&BusConfig::new(broker.url())).await.unwrap();
    publish(&bus, &ended("CA1")).await;
    let identity = bus.stream_identity().to_owned();
    broker.stop().await;
    assert_eq!(broker.pid(), None);
    let again = start().await;
    assert_ne!(again.url(), broker.url(), "credentials are made for each start");
    let bus = Bus::connect(&BusConfig::new(again.url())).await.unwrap();
    assert_eq!(bus.stream_identity(), identity);
    assert_eq!(all_events(&bus).await.len(), 1);
    let files = std::fs::read_to_string(folder.path().join("nats.conf")).unwrap();
    let password = again.url();
    let password = password.split(&[':', '@']).nth(2).unwrap();
    assert!(!files.contains(password), "the password stands in no file");
    again.stop().await;
}

/// Not a test: the process that the next one kills. It does nothing unless it is told a folder.
#[test]
fn helper_that_starts_a_server() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let broker = Broker::start(&find_server(&Environment).unwrap(), Path::new(&folder)).unwrap();
    println!("\nserver-pid={}", broker.pid().unwrap());
    loop {
        std::thread::park();
    }
}

/// Whether a process runs; one that is dead and not buried does not.
fn runs(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])),
        Err(_) => false,
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_dies_with_a_parent_that_was_killed_and_its_store_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "broker::helper_that_starts_a_server", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = parent.stdout.take().unwrap();
    let pid = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        lines
            .filter_map(|line| line.strip_prefix("server-pid=")?.parse::<u32>().ok())
            .next()
    })
    .await
    .unwrap()
    .expect("the helper starts a server");
    assert!(runs(pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_for("the server to die", async || (!runs(pid)).then_some(())).await;
    let (server, path) = (find_server(&Environment).unwrap(), folder.path().to_owned());
    let broker = tokio::task::spawn_blocking(move || Broker::start(&server, &path).unwrap())
        .await
        .unwrap();
    broker.stop().await;
}
