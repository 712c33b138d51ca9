//! The program as a process: started with settings of its own, its output read line by line, gone with its value.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callfold_kit::testing::wait_for;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// How long a process may take to end by itself.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// A folder and the settings of everything that runs on it.
pub(crate) struct Installation {
    folder: tempfile::TempDir,
    pub(crate) media_port: u16,
    settings: Vec<(String, String)>,
}

impl Installation {
    pub(crate) fn new() -> Self {
        let media_port = free_port();
        let settings = vec![(
            "CALLFOLD_RECORDING_HOSTS".to_owned(),
            format!("127.0.0.1:{media_port}"),
        )];
        Self {
            folder: tempfile::tempdir().unwrap(),
            media_port,
            settings,
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// The data folder; not there before the first start.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callfold"));
        // Whoever runs the tests may have settings: they are not meant.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let is_setting = ["CALLFOLD_", "TWILIO_", "OPENAI_", "NATS_", "GOOGLE_", "AWS_"]
                .iter()
                .any(|p| text.starts_with(p))
                || ["DATABASE_URL", "RECORDINGS_URL", "PUBLIC_URL", "WHISPER_MODEL"].contains(&&*text);
            if is_setting && text != "CALLFOLD_NATS_SERVER" {
                command.env_remove(&name);
            }
        }
        command
            .args(arguments)
            .env("CALLFOLD_DATA_DIR", self.data())
            // A process that is killed leaves what it was just checking.
            .env("TMPDIR", self.folder.path())
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts it and goes on.
    pub(crate) fn start(&self, arguments: &[&str]) -> Program {
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = Lines::default();
        let err = Lines::default();
        let readers = [
            out.read(child.stdout.take().expect("it is piped")),
            err.read(child.stderr.take().expect("it is piped")),
        ];
        Program {
            child,
            out,
            err,
            readers,
        }
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[]).await
    }

    /// The same with further settings.
    pub(crate) async fn run_with(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Ran {
        let mut command = self.command(arguments);
        command.envs(settings.iter().copied());
        let output = tokio::time::timeout(END_TIMEOUT * 3, command.output());
        Ran::from(
            output
                .await
                .unwrap_or_else(|_| panic!("{arguments:?} never ended"))
                .expect("the program starts"),
        )
    }

    /// Runs it to its end, with one line on its standard input.
    pub(crate) async fn run_with_line(&self, arguments: &[&str], line: &str) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut input = child.stdin.take().expect("it is piped");
        input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        drop(input);
        let output = tokio::time::timeout(END_TIMEOUT * 3, child.wait_with_output()).await;
        Ran::from(
            output
                .unwrap_or_else(|_| panic!("{arguments:?} never ended"))
                .unwrap(),
        )
    }

    /// Whether a broker has the store. Its process inherits the lock, so a free one means that it is gone.
    pub(crate) fn has_broker(&self) -> bool {
        let file = std::fs::File::open(self.data().join("nats/lock")).unwrap();
        matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock))
    }
}

/// What a process said that came to its end.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

/// A running process.
pub(crate) struct Program {
    child: Child,
    out: Lines,
    err: Lines,
    readers: [tokio::task::JoinHandle<()>; 2],
}

impl Program {
    /// The first line of standard output that begins so, once it is there.
    pub(crate) async fn says(&mut self, beginning: &str) -> String {
        let (out, err, child) = (self.out.clone(), self.err.clone(), &mut self.child);
        wait_for(beginning, async || {
            let said = out.all().into_iter().find(|line| line.starts_with(beginning));
            if said.is_none()
                && let Some(status) = child.try_wait().unwrap()
            {
                panic!(
                    "ended with {status} before it said {beginning:?}:\n{}\n{}",
                    out.text(),
                    err.text()
                );
            }
            said
        })
        .await
    }

    /// The address of the line `ready http://…`.
    pub(crate) async fn ready(&mut self) -> String {
        let line = self.says("ready http://").await;
        line.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// Everything on standard output so far.
    pub(crate) fn output(&self) -> String {
        self.out.text()
    }

    /// Everything it wrote to either side so far.
    pub(crate) fn everything(&self) -> String {
        self.out.text() + &self.err.text()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .expect("it runs");
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = tokio::time::timeout(END_TIMEOUT, self.child.wait()).await;
        let status = status
            .unwrap_or_else(|_| panic!("it did not end:\n{}", self.everything()))
            .unwrap();
        for reader in &mut self.readers {
            reader.await.unwrap();
        }
        status
    }

    /// Sends a signal and waits for the end.
    pub(crate) async fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.ended().await
    }
}

/// Lines that were read so far.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn read(&self, from: impl AsyncRead + Send + Unpin + 'static) -> tokio::task::JoinHandle<()> {
        let to = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut lines = BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                to.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        })
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn text(&self) -> String {
        self.all().iter().map(|line| format!("{line}\n")).collect()
    }
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The permissions of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777
}
