//! A PostgreSQL server for tests: a real one, its data in a temporary folder, gone with the process.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long the server may take to start.
const START_MAX: Duration = Duration::from_secs(60);
/// The database's user in tests.
const USER: &str = "callfold";
/// Runs the server until standard input ends, which it does with this process, whatever ends it; then stops it
/// (SIGINT is PostgreSQL's fast shutdown) and deletes the folder.
const KEEPER: &str = r#"
folder=$1; shift
"$@" >"$folder/log" 2>&1 &
server=$!
read -r _
kill -INT $server
wait $server
cd / && rm -rf "$folder"
"#;

/// A running server.
#[derive(Debug)]
pub struct TestPostgres {
    port: u16,
    bin: PathBuf,
    databases: AtomicU32,
    keeper: Child,
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
        // Between finding a free port and taking it, somebody else may take it.
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
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-U",
                USER,
                "--maintenance-db=postgres",
                &name,
            ])
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
        let account = give_to_unprivileged(folder.path())?;
        let as_account = |program: &Path| {
            let mut command = match account {
                Some((uid, gid)) => {
                    let mut command = Command::new("setpriv");
                    command.args([
                        &format!("--reuid={uid}"),
                        &format!("--regid={gid}"),
                        "--clear-groups",
                        "--",
                    ]);
                    command.arg(program);
                    command
                }
                None => Command::new(program),
            };
            command.current_dir(folder.path());
            command
        };
        let data = folder.path().join("data");
        let initdb = as_account(&bin.join("initdb"))
            .args([
                "--no-sync",
                "--no-locale",
                "--encoding=UTF8",
                "--auth=trust",
                "-U",
                USER,
                "-D",
            ])
            .arg(&data)
            .output()
            .map_err(|error| format!("initdb did not run: {error}"))?;
        if !initdb.status.success() {
            return Err(format!(
                "initdb failed: {}",
                String::from_utf8_lossy(&initdb.stderr)
            ));
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(|error| format!("no free port: {error}"))?
            .port();
        let mut command = as_account(Path::new("/bin/sh"));
        command
            .args(["-c", KEEPER, "keeper"])
            .arg(folder.path())
            .arg(bin.join("postgres"))
            .arg("-D")
            .arg(&data);
        command.args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "shared_buffers=32MB",
            "dynamic_shared_memory_type=mmap",
            "max_connections=200",
        ] {
            command.args(["-c", setting]);
        }
        let mut keeper = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("postgres did not run: {error}"))?;
        let began = Instant::now();
        loop {
            let ready = Command::new(bin.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", USER])
                .status()
                .map_err(|error| format!("pg_isready did not run: {error}"))?;
            if ready.success() {
                break;
            }
            let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            if log.contains("FATAL") || began.elapsed() > START_MAX {
                stop(&mut keeper);
                return Err(format!("postgres did not become ready: {log}"));
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "between two looks at a condition; this function blocks"
            )]
            std::thread::sleep(Duration::from_millis(50));
        }
        // From here on the keeper deletes it.
        let _kept = folder.keep();
        Ok(TestPostgres {
            port,
            bin,
            databases: AtomicU32::new(0),
            keeper,
        })
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        stop(&mut self.keeper);
    }
}

/// Closing the pipe is the signal.
fn stop(keeper: &mut Child) {
    drop(keeper.stdin.take());
    if let Err(error) = keeper.wait() {
        eprintln!("the PostgreSQL of the tests could not be waited for: {error}");
    }
}

fn find_bin() -> Option<PathBuf> {
    let has_initdb = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    let asked = std::env::var_os("CALLFOLD_PG_BIN").map(PathBuf::from);
    if asked.is_some() {
        return asked.filter(has_initdb);
    }
    let mut installed: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, bin)| has_initdb(bin))
        .collect();
    installed.sort_unstable();
    installed.pop().map(|(_, bin)| bin).or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(has_initdb)
    })
}

/// PostgreSQL refuses to run as root: then the folder is given to an account that may do nothing else.
fn give_to_unprivileged(folder: &Path) -> Result<Option<(u32, u32)>, String> {
    let owner = fs::metadata(folder)
        .map_err(|error| format!("the temporary folder is gone: {error}"))?
        .uid();
    if owner != 0 {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd").map_err(|error| format!("no /etc/passwd: {error}"))?;
    let (uid, gid) = ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| {
            let fields: Vec<&str> = accounts
                .lines()
                .map(|line| line.split(':').collect())
                .find(|f: &Vec<&str>| f[0] == name)?;
            Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
        })
        .ok_or("neither an account postgres nor nobody, and PostgreSQL does not run as root")?;
    chown(folder, Some(uid), Some(gid))
        .map_err(|error| format!("chown of the temporary folder failed: {error}"))?;
    Ok(Some((uid, gid)))
}
