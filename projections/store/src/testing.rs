//! A PostgreSQL server for tests: a real one, its data in a temporary folder, gone with the process.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long the server may take to start.
const START_MAX: Duration = Duration::from_secs(60);
/// The database's user in tests.
const USER: &str = "callfold";

/// A running server. Its shell waits for the end of this process (of the pipe to it) and then stops the server and
/// deletes its folder, so that nothing is left whatever ends the tests.
#[derive(Debug)]
pub struct TestPostgres {
    port: u16,
    bin: PathBuf,
    databases: AtomicU32,
    shell: Child,
}

impl TestPostgres {
    /// The server of this test process, started by the first call (which blocks for a second or two).
    ///
    /// Panics with what to do when there is no PostgreSQL: a test that cannot run has failed.
    pub fn shared() -> &'static TestPostgres {
        static SERVER: OnceLock<TestPostgres> = OnceLock::new();
        SERVER.get_or_init(TestPostgres::start)
    }

    /// A server of its own; stopped when dropped. Panics like [`TestPostgres::shared`].
    pub fn start() -> TestPostgres {
        let mut last = String::new();
        // Between finding a free port and taking it, somebody else may.
        for _ in 0..3 {
            match Self::try_start() {
                Ok(server) => return server,
                Err(error) => last = error,
            }
        }
        panic!("PostgreSQL for tests did not start (`make test` installs it): {last}");
    }

    /// The address of a new, empty database.
    pub fn fresh_database(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = Command::new(self.bin.join("createdb"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER, &name])
            .output();
        match made {
            Ok(output) if output.status.success() => self.address(&name),
            Ok(output) => panic!("createdb failed: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => panic!("createdb did not run: {error}"),
        }
    }

    /// The address of a database of this server.
    pub fn address(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    fn try_start() -> Result<TestPostgres, String> {
        let bin = find_bin().ok_or(
            "no initdb in CALLFOLD_PG_BIN, /usr/lib/postgresql/*/bin or PATH; on Debian: apt install postgresql",
        )?;
        let folder = tempfile::Builder::new()
            .prefix("callfold-pg-")
            .tempdir()
            .map_err(|error| format!("no temporary folder: {error}"))?;
        let data = folder.path().join("data");
        let account = unprivileged_account(folder.path())?;
        let as_account = |program: &Path| {
            let mut command = match &account {
                // The server refuses to run as root.
                Some((uid, gid)) => {
                    let mut command = Command::new("setpriv");
                    command.args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups", "--"]);
                    command.arg(program);
                    command
                }
                None => Command::new(program),
            };
            command.current_dir(folder.path());
            command
        };
        let initdb = as_account(&bin.join("initdb"))
            .args(["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust", "-U", USER, "-D"])
            .arg(&data)
            .output()
            .map_err(|error| format!("initdb did not run: {error}"))?;
        if !initdb.status.success() {
            return Err(format!("initdb failed: {}", String::from_utf8_lossy(&initdb.stderr)));
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(|error| format!("no free port: {error}"))?
            .port();
        // SIGINT is PostgreSQL's fast shutdown.
        let script = "\"$0\" \"$@\" 2>&1 & server=$!; read -r _; kill -INT $server; wait $server; exit 0";
        let mut command = as_account(Path::new("/bin/sh"));
        command.arg("-c").arg(script).arg(bin.join("postgres")).arg("-D").arg(&data);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "shared_buffers=32MB",
            "dynamic_shared_memory_type=mmap",
            "max_connections=200",
            "logging_collector=off",
        ] {
            command.args(["-c", setting]);
        }
        command.args(["-p", &port.to_string()]);
        let mut shell = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("postgres did not run: {error}"))?;
        let output = shell.stdout.take().ok_or("postgres has no output")?;
        let log = drain(output);
        let began = Instant::now();
        loop {
            let ready = Command::new(bin.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                .status()
                .map_err(|error| format!("pg_isready did not run: {error}"))?;
            if ready.success() {
                break;
            }
            let ended = shell.try_wait().map_err(|error| format!("lost the server: {error}"))?;
            if ended.is_some() || began.elapsed() > START_MAX || log.lines().contains("FATAL") {
                stop(&mut shell);
                return Err(format!("postgres did not become ready: {}", log.lines()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        remove_at_exit(folder, &shell);
        Ok(TestPostgres { port, bin, databases: AtomicU32::new(0), shell })
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        stop(&mut self.shell);
    }
}

/// Closing the pipe is the signal.
fn stop(shell: &mut Child) {
    drop(shell.stdin.take());
    if let Err(error) = shell.wait() {
        eprintln!("the PostgreSQL of the tests could not be waited for: {error}");
    }
}
