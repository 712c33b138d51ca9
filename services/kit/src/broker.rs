//! A `nats-server` of our own as a child process: found, started, restarted when it dies, never run twice on one store,
//! and dead when its parent is, whatever killed it (by the kernel's parent-death signal, so on Linux only: elsewhere a
//! server outlives a parent that was killed with `SIGKILL`, and the lock of its store says so at the next start).

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rand::RngExt;
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal};
use tokio::sync::watch;

use crate::blob::create_private_folder;
use crate::config::Source;
use crate::secret::Secret;

/// The oldest server that will do: `sync_interval`, stream metadata and several filters a consumer need it.
pub const VERSION_MIN: (u32, u32) = (2, 10);
/// The configuration that our own server, tests and the compose file share.
pub const CONFIGURATION: &str = include_str!("../../../nats.conf");
/// How long a start may take, in which the server may have to read a large store.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the server of a process that was just killed may take to die.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a server may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause before a server that died is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// None was found.
    #[error(
        "no nats-server 2.10 or newer was found: set CALLFOLD_NATS_SERVER to one, install it on PATH, or run \
         `make build`, which puts one into .tools/ ({})", .passed_over.join("; ")
    )]
    NotFound {
        /// What was found and why it will not do.
        passed_over: Vec<String>,
    },
    /// A file of the store.
    #[error("could not prepare the broker's folder {}", .path.display())]
    Prepare {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another server has the store.
    #[error("another callfold uses the store {}: stop it first, or choose another --data-dir", .0.display())]
    InUse(PathBuf),
    /// It did not start.
    #[error("could not start {}", .path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended at once or never opened its port.
    #[error("nats-server did not come up; its log is {}", .log.display())]
    NotUp {
        /// Where to look.
        log: PathBuf,
    },
}

/// Looks for a server: `CALLFOLD_NATS_SERVER`, PATH, `.tools/` of the working folder, beside the program and in `.tools/`
/// beside the program. One that is too old is passed over.
pub fn find_server(source: &dyn Source) -> Result<PathBuf, BrokerError> {
    let mut candidates: Vec<PathBuf> = Vec::new();
    if let Some(path) = source.get("CALLFOLD_NATS_SERVER").filter(|path| !path.is_empty()) {
        candidates.push(path.into());
    }
    if let Some(path) = source.get("PATH") {
        candidates.extend(std::env::split_paths(&path).map(|folder| folder.join("nats-server")));
    }
    candidates.push(PathBuf::from(".tools/nats-server"));
    if let Ok(program) = std::env::current_exe() {
        // target/release/callfold → the project's .tools/
        for folder in program.ancestors().skip(1).take(4) {
            candidates.push(folder.join("nats-server"));
            candidates.push(folder.join(".tools/nats-server"));
        }
    }
    let mut passed_over = Vec::new();
    for path in candidates {
        if !path.is_file() {
            continue;
        }
        match version(&path) {
            Some(found) if found >= VERSION_MIN => return Ok(path),
            Some((major, minor)) => passed_over.push(format!("{} is {major}.{minor}", path.display())),
            None => passed_over.push(format!("{} does not tell its version", path.display())),
        }
    }
    Err(BrokerError::NotFound { passed_over })
}

/// Runs `nats-server --version`: `nats-server: v2.10.27`.
fn version(path: &Path) -> Option<(u32, u32)> {
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_once(": v")?.1.trim().split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A running server of our own.
pub struct Broker {
    port: u16,
    user: String,
    password: Secret,
    orders: Sender<Order>,
    state: watch::Receiver<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Stop,
    Kill,
    KillAndHold,
    Resume,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    /// The process, while there is one.
    pid: Option<u32>,
    /// How often it was started.
    starts: u32,
    /// Nobody looks after it any more.
    over: bool,
}

impl Broker {
    /// Starts a server whose store is `folder`, on a free port of the loopback interface, with credentials made for this
    /// run. Blocks for as long as the server takes to come up: call it from a blocking thread.
    pub fn start(server: &Path, folder: &Path) -> Result<Self, BrokerError> {
        let prepare = |path: &Path| {
            let path = path.to_owned();
            move |source| BrokerError::Prepare { path, source }
        };
        create_private_folder(folder).map_err(prepare(folder))?;
        let lock = lock_store(folder, LOCK_TIMEOUT)?;
        let config = folder.join("nats.conf");
        std::fs::write(&config, CONFIGURATION).map_err(prepare(&config))?;
        let mut launch = Launch {
            server: server.to_owned(),
            folder: folder.to_owned(),
            config,
            // The configuration's parser reads a value that begins with a digit as a number.
            user: format!("u{:08x}", rand::rng().random::<u32>()),
            password: Secret::new(format!("p{:032x}", rand::rng().random::<u128>())),
            port: None,
            lock,
        };
        let (orders, inbox) = channel();
        let (report, state) = watch::channel(State {
            pid: None,
            starts: 0,
            over: false,
        });
        let (started, first) = channel();
        let (user, password) = (launch.user.clone(), launch.password.clone());
        // A thread of its own, for the signal that kills the server at its parent's death is bound to the thread that
        // started it.
        std::thread::Builder::new()
            .name("nats-server".to_owned())
            .spawn(move || {
                let child = launch.up();
                match child {
                    Ok((child, port)) => {
                        launch.port = Some(port);
                        report.send_replace(State {
                            pid: Some(child.id()),
                            starts: 1,
                            over: false,
                        });
                        if started.send(Ok(port)).is_ok() {
                            look_after(&launch, child, &inbox, &report);
                        }
                    }
                    Err(error) => {
                        // Whoever started it is waiting for this.
                        drop(started.send(Err(error)));
                    }
                }
                report.send_modify(|state| {
                    *state = State {
                        pid: None,
                        over: true,
                        ..*state
                    }
                });
            })
            .map_err(|source| BrokerError::Spawn {
                path: server.to_owned(),
                source,
            })?;
        let port = first.recv().map_err(|_| BrokerError::NotUp {
            log: folder.join("nats.log"),
        })??;
        Ok(Self {
            port,
            user,
            password,
            orders,
            state,
        })
    }

    /// `nats://user:password@127.0.0.1:port`
    pub fn url(&self) -> String {
        format!(
            "nats://{}:{}@127.0.0.1:{}",
            self.user,
            self.password.expose(),
            self.port
        )
    }

    /// The port it listens on, the same for its whole life.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.state.borrow().pid
    }

    fn order(&self, order: Order) {
        // A closed inbox means that the server is gone for good already.
        if self.orders.send(order).is_err() {
            tracing::debug!("nobody looks after nats-server any more");
        }
    }

    /// Stops it in order and waits for that.
    pub async fn stop(&self) {
        self.order(Order::Stop);
        let mut state = self.state.clone();
        // An error means the thread is gone, and the server with it.
        drop(state.wait_for(|state| state.over).await);
    }

    /// Kills it (`SIGKILL`) and lets it be restarted; returns when it is up again.
    pub async fn kill_and_restart(&self) {
        let mut state = self.state.clone();
        let starts = state.borrow_and_update().starts;
        self.order(Order::Kill);
        drop(
            state
                .wait_for(|state| state.over || (state.starts > starts && state.pid.is_some()))
                .await,
        );
    }

    /// Kills it (`SIGKILL`) and blocks for the moment that takes: a test's store is deleted next.
    #[cfg(feature = "testing")]
    pub(crate) fn kill_for_good(&self) {
        self.order(Order::KillAndHold);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !self.state.borrow().over && self.pid().is_some() && Instant::now() < deadline {
            pause(Duration::from_millis(1));
        }
        self.order(Order::Stop);
    }

    /// Kills it (`SIGKILL`) and keeps it down until [`Broker::resume`].
    pub async fn kill_and_hold(&self) {
        let mut state = self.state.clone();
        self.order(Order::KillAndHold);
        drop(state.wait_for(|state| state.over || state.pid.is_none()).await);
    }

    /// Starts it again after [`Broker::kill_and_hold`]; returns when it is up.
    pub async fn resume(&self) {
        let mut state = self.state.clone();
        self.order(Order::Resume);
        drop(state.wait_for(|state| state.over || state.pid.is_some()).await);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if !self.state.borrow().over {
            self.order(Order::Stop);
        }
    }
}

/// Takes the lock of a store. The server inherits it, so it is free only when the server is gone, too.
fn lock_store(folder: &Path, patience: Duration) -> Result<File, BrokerError> {
    let path = folder.join("lock");
    let prepare = |source| BrokerError::Prepare {
        path: path.clone(),
        source,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(prepare)?;
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::Error(source)) => return Err(prepare(source)),
            // The server of a process that was killed a moment ago may still be dying.
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                pause(Duration::from_millis(20))
            }
            Err(std::fs::TryLockError::WouldBlock) => return Err(BrokerError::InUse(folder.to_owned())),
        }
    }
}

/// Lets a blocking thread wait; never called on an async one.
fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

struct Launch {
    server: PathBuf,
    folder: PathBuf,
    config: PathBuf,
    user: String,
    password: Secret,
    port: Option<u16>,
    lock: File,
}

impl Launch {
    /// Starts the server and waits until it has opened its port.
    fn up(&self) -> Result<(Child, u16), BrokerError> {
        let log_path = self.folder.join("nats.log");
        let prepare = |path: &Path| {
            let path = path.to_owned();
            move |source| BrokerError::Prepare { path, source }
        };
        let mut log = File::create(&log_path).map_err(prepare(&log_path))?;
        writeln!(log, "# the log of the last start").map_err(prepare(&log_path))?;
        let ports = self.folder.join("ports");
        if ports.exists() {
            std::fs::remove_dir_all(&ports).map_err(prepare(&ports))?;
        }
        create_private_folder(&ports).map_err(prepare(&ports))?;
        let spawn = |source| BrokerError::Spawn {
            path: self.server.clone(),
            source,
        };
        let mut command = Command::new(&self.server);
        command
            .arg("-c")
            .arg(&self.config)
            .args(["-a", "127.0.0.1", "-p"])
            .arg(self.port.map_or("-1".to_owned(), |port| port.to_string()))
            .arg("-sd")
            .arg(self.folder.join("store"))
            .arg("--ports_file_dir")
            .arg(&ports)
            .env("CALLFOLD_NATS_USER", &self.user)
            .env("CALLFOLD_NATS_PASSWORD", self.password.expose())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(prepare(&log_path))?)
            .stderr(log)
            // A Ctrl-C at the terminal is for us; we stop the server when its clients are done.
            .process_group(0);
        inherit(
            &mut command,
            self.lock.try_clone().map_err(prepare(&self.folder))?,
        );
        let mut child = command.spawn().map_err(spawn)?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(port) = read_port(&ports)
                && std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            {
                return Ok((child, port));
            }
            let ended = child.try_wait().map_err(spawn)?;
            if ended.is_some() || Instant::now() > deadline {
                kill(&mut child, &self.server);
                return Err(BrokerError::NotUp { log: log_path });
            }
            pause(Duration::from_millis(10));
        }
    }
}

/// Gives the lock to the child, and has the kernel kill it when the thread that started it is gone.
fn inherit(command: &mut Command, lock: File) {
    let parent = rustix::process::getpid();
    let prepare = move || {
        rustix::io::fcntl_setfd(lock.as_fd(), FdFlags::empty())?;
        #[cfg(target_os = "linux")]
        {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above.
            if rustix::process::getppid() != Some(parent) {
                return Err(std::io::Error::other("the parent is gone"));
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = parent;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are made: fcntl, prctl and getppid through rustix,
    // which neither allocates nor takes locks for them.
    #[expect(
        unsafe_code,
        reason = "there is no other way to bind a child's life to its parent's"
    )]
    unsafe {
        command.pre_exec(prepare);
    }
}

/// `{"nats":["nats://127.0.0.1:4222"],…}` in a file named after the process.
fn read_port(folder: &Path) -> Option<u16> {
    let entry = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .find(|e| e.path().extension().is_some_and(|x| x == "ports"))?;
    let text = std::fs::read_to_string(entry.path()).ok()?;
    let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
    let urls = ports.get("nats")?.as_array()?;
    urls.iter()
        .filter_map(|url| url.as_str()?.rsplit_once(':')?.1.parse().ok())
        .next()
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = rustix::process::kill_process(pid, signal)
    {
        tracing::debug!(%error, "could not signal nats-server");
    }
}

fn kill(child: &mut Child, server: &Path) {
    if let Err(error) = child.kill().and_then(|()| child.wait()) {
        tracing::warn!(%error, "could not kill {}", server.display());
    }
}

fn stop(child: &mut Child, server: &Path) {
    // One that ended by itself has no process id any more.
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    signal(child, Signal::TERM);
    let deadline = Instant::now() + STOP_TIMEOUT;
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        pause(Duration::from_millis(10));
    }
    tracing::warn!("nats-server did not stop in time and is killed");
    kill(child, server);
}

fn look_after(launch: &Launch, mut child: Child, inbox: &Receiver<Order>, report: &watch::Sender<State>) {
    let mut held = false;
    loop {
        match inbox.recv_timeout(Duration::from_millis(50)) {
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => {
                if !held {
                    stop(&mut child, &launch.server);
                }
                return;
            }
            Ok(Order::Kill) if !held => kill(&mut child, &launch.server),
            Ok(Order::KillAndHold) if !held => {
                kill(&mut child, &launch.server);
                held = true;
                report.send_modify(|state| state.pid = None);
                continue;
            }
            Ok(Order::Resume) => held = false,
            Ok(Order::Kill | Order::KillAndHold) | Err(RecvTimeoutError::Timeout) => {}
        }
        if held {
            continue;
        }
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => {
                report.send_modify(|state| state.pid = None);
                tracing::error!(
                    exit.code = status.code(),
                    exit.signal = status.signal(),
                    "nats-server ended and is started again; its log is in the data folder"
                );
                pause(RESTART_PAUSE);
                match launch.up() {
                    Ok((started, _)) => {
                        child = started;
                        report.send_modify(|state| {
                            state.pid = Some(child.id());
                            state.starts += 1;
                        });
                    }
                    // The next round tries again: the child that ended stays ended.
                    Err(error) => {
                        tracing::error!(error = %crate::chain::chain(&error), "nats-server does not start")
                    }
                }
            }
            Err(error) => tracing::error!(%error, "could not look after nats-server"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_locked_for_one_broker() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = lock_store(folder.path(), Duration::ZERO).expect("free");
        let second = lock_store(folder.path(), Duration::from_millis(30));
        assert!(matches!(second, Err(BrokerError::InUse(path)) if path == folder.path()));
        drop(first);
        lock_store(folder.path(), Duration::ZERO).expect("free again");
    }
}
