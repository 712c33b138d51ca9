//! A real Chromium without a window, driven by chromedriver.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long the driver may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// One browser with an empty profile; gone with this value.
pub(crate) struct Browser {
    pub(crate) client: Client,
    driver: Child,
    driver_url: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a driver on a free port and a browser with it. Panics where there is none.
    pub(crate) async fn start() -> Self {
        let program = find("chromedriver")
            .expect("no chromedriver on PATH or in /usr/bin: `make test` brings it with Chromium");
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new(program)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = tokio::time::timeout(START_TIMEOUT, async {
            loop {
                let line = lines
                    .next_line()
                    .await
                    .unwrap()
                    .expect("chromedriver says its port before it ends");
                // "ChromeDriver was started successfully on port 12345."
                if let Some((_, port)) = line.split_once("successfully on port ") {
                    break port.trim_end_matches('.').to_owned();
                }
            }
        })
        .await
        .expect("chromedriver starts in time");
        // What it says later is read and forgotten: a full pipe would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let mut flags = vec![
            "--headless".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-quic".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--window-size=1280,900".to_owned(),
            // The page speaks the language the browser asks for.
            "--accept-lang=he-IL,he".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        if rustix::process::geteuid().is_root() {
            // The sandbox refuses to work for root.
            flags.push("--no-sandbox".to_owned());
        }
        let mut options = json!({ "args": flags, "prefs": { "intl.accept_languages": "he-IL,he" } });
        if let Some(binary) = find("chromium")
            .or_else(|| find("chromium-browser"))
            .or_else(|| find("google-chrome"))
        {
            options["binary"] = json!(binary);
        }
        let capabilities =
            json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let Value::Object(capabilities) = capabilities else {
            unreachable!("an object was written above")
        };
        let driver_url = format!("http://127.0.0.1:{port}");
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&driver_url)
            .await
            .expect("Chromium starts");
        Self {
            client,
            driver,
            driver_url,
            _profile: profile,
        }
    }

    /// What the page's console says: script errors, refused resources, violations of the content policy.
    pub(crate) async fn console(&self, http: &reqwest::Client) -> Vec<String> {
        let session = self.client.session_id().await.unwrap().unwrap();
        let answer: Value = http
            .post(format!("{}/session/{session}/se/log", self.driver_url))
            .json(&json!({ "type": "browser" }))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let entries = answer["value"]
            .as_array()
            .expect("chromedriver tells the console");
        entries
            .iter()
            .filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")))
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// A command to Chromium itself, for what no page can do: another size of screen, another language.
    pub(crate) async fn command(&self, http: &reqwest::Client, name: &str, parameters: Value) {
        let session = self.client.session_id().await.unwrap().unwrap();
        let answer = http
            .post(format!("{}/session/{session}/goog/cdp/execute", self.driver_url))
            .json(&json!({ "cmd": name, "params": parameters }))
            .send()
            .await
            .unwrap();
        assert!(
            answer.status().is_success(),
            "{name}: {}",
            answer.text().await.unwrap()
        );
    }

    /// The screen of a phone: 360 by 800.
    pub(crate) async fn be_a_phone(&self, http: &reqwest::Client) {
        let screen = json!({ "width": 360, "height": 800, "deviceScaleFactor": 2, "mobile": true });
        self.command(http, "Emulation.setDeviceMetricsOverride", screen)
            .await;
    }

    /// Closes the browser, then ends its driver.
    pub(crate) async fn close(mut self) {
        self.client.close().await.unwrap();
        self.driver.kill().await.unwrap();
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/bin")])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}
