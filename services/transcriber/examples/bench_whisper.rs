//! How well and how fast recordings are recognised, beside plain `whisper_full` with the same model in the same run:
//! word error rates, real-time factors, what silence and noise give, and the peak memory of a recording of two hours.
//!
//! `make bench-whisper`. Arguments: `--hours H` (2; 0 leaves the long recording out), `--runs N` (3, the best counts).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool that fails by panicking and prints"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use callfold_kit::audio::{Pcm, decode};
use callfold_transcriber::audio::{Audio16k, LIMITS, SAMPLE_RATE_HZ};
use callfold_transcriber::engine::whisper::{ModelSource, Whisper, WhisperOptions};
use callfold_transcriber::engine::{Engine as _, Request};
use callfold_transcriber::wer::{WordErrors, word_error_rate};
use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters};

#[path = "../src/speech/signals.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests")]
mod signals;

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets")
}

fn sample(name: &str) -> Arc<Audio16k> {
    let file = std::fs::File::open(assets().join("samples").join(name)).unwrap();
    Arc::new(Audio16k::decode(file, &LIMITS, &std::env::temp_dir()).unwrap())
}

fn reference(name: &str) -> String {
    std::fs::read_to_string(assets().join("samples").join(name)).unwrap()
}

/// whisper.cpp as it is.
struct Plain {
    context: WhisperContext,
    threads: i32,
}

impl Plain {
    fn hear(&self, audio: &Audio16k, strategy: SamplingStrategy) -> (String, f64) {
        let samples = audio.read(0, 0..audio.frames()).unwrap();
        let begun = Instant::now();
        let mut state = self.context.create_state().unwrap();
        let mut params = FullParams::new(strategy);
        params.set_language(Some("he"));
        params.set_n_threads(self.threads);
        params.set_print_progress(false);
        params.set_print_realtime(false);
        params.set_print_special(false);
        params.set_print_timestamps(false);
        state.full(params, &samples).unwrap();
        let text: Vec<String> = state
            .as_iter()
            .map(|segment| segment.to_str_lossy().unwrap().trim().to_owned())
            .collect();
        (text.join(" "), begun.elapsed().as_secs_f64())
    }
}

fn greedy() -> SamplingStrategy {
    SamplingStrategy::Greedy { best_of: 5 }
}

fn beam() -> SamplingStrategy {
    SamplingStrategy::BeamSearch {
        beam_size: 5,
        patience: -1.0,
    }
}

async fn ours(engine: &Whisper, audio: &Arc<Audio16k>) -> (String, f64) {
    let begun = Instant::now();
    let heard = engine.transcribe(Request::new(Arc::clone(audio))).await.unwrap();
    (heard.text(), begun.elapsed().as_secs_f64())
}

/// The text, and the shortest of the times.
fn best(runs: usize, mut hear: impl FnMut() -> (String, f64)) -> (String, f64) {
    let (text, mut secs) = hear();
    for _ in 1..runs {
        secs = secs.min(hear().1);
    }
    (text, secs)
}

#[derive(Default)]
struct Sum {
    errors: WordErrors,
    secs: f64,
}

impl Sum {
    fn add(&mut self, errors: WordErrors, secs: f64) {
        self.errors = self.errors + errors;
        self.secs += secs;
    }
}

fn cell(errors: WordErrors, secs: f64, audio_secs: f64) -> String {
    format!(
        "{:6.2} % {:6.2} s {:6.3}",
        100.0 * errors.rate(),
        secs,
        secs / audio_secs
    )
}

fn compare(engine: &Whisper, plain: &Plain, runs: usize, runtime: &tokio::runtime::Runtime) {
    println!("\nword errors, time and real-time factor (shortest of {runs} runs)");
    println!(
        "{:16} {:>7} | {:^24} | {:^24} | {:^24} | ratio to greedy, beam",
        "recording", "audio", "callfold", "plain, greedy", "plain, beam of 5"
    );
    let mut names: Vec<(String, String)> = Vec::new();
    for ending in ["wav", "mp3"] {
        names.extend((1..=6).map(|n| (format!("message-{n}.{ending}"), format!("message-{n}.txt"))));
    }
    names.push(("long-call.mp3".into(), "long-call.txt".into()));
    let (mut a, mut b, mut c, mut total) = (Sum::default(), Sum::default(), Sum::default(), 0.0);
    let line = |name: &str, secs: f64, of: [(WordErrors, f64); 3]| {
        println!(
            "{name:16} {secs:5.1} s | {} | {} | {} | {:.2} {:.2}",
            cell(of[0].0, of[0].1, secs),
            cell(of[1].0, of[1].1, secs),
            cell(of[2].0, of[2].1, secs),
            of[0].1 / of[1].1,
            of[0].1 / of[2].1
        );
    };
    for (name, text) in &names {
        let audio = sample(name);
        let secs = audio.duration_ms() as f64 / 1000.0;
        let said = reference(text);
        let of = [
            best(runs, || runtime.block_on(ours(engine, &audio))),
            best(runs, || plain.hear(&audio, greedy())),
            best(runs, || plain.hear(&audio, beam())),
        ]
        .map(|(heard, took)| (word_error_rate(&said, &heard), took));
        line(name, secs, of);
        if name.starts_with("message") {
            a.add(of[0].0, of[0].1);
            b.add(of[1].0, of[1].1);
            c.add(of[2].0, of[2].1);
            total += secs;
        }
    }
    line(
        "all messages",
        total,
        [(a.errors, a.secs), (b.errors, b.secs), (c.errors, c.secs)],
    );
}

fn no_speech(engine: &Whisper, plain: &Plain, runtime: &tokio::runtime::Runtime) {
    let (mut sounds, mut invented, mut invented_plain) = (0, Vec::new(), Vec::new());
    for signal in signals::no_speech() {
        let audio = Audio16k::from_pcm(Pcm {
            sample_rate_hz: signals::RATE_HZ,
            channels: vec![signals::mu_law(&signal.samples)],
        });
        let audio = Arc::new(audio.unwrap());
        sounds += 1;
        let words = |text: &str| text.split_whitespace().count();
        let ours = words(&runtime.block_on(ours(engine, &audio)).0);
        if ours > 0 {
            invented.push(format!("{} ({ours})", signal.name));
        }
        let plain = words(&plain.hear(&audio, greedy()).0);
        if plain > 0 {
            invented_plain.push(format!("{} ({plain})", signal.name));
        }
    }
    println!("\n{sounds} sounds that are no speech; those that gave words, and how many");
    println!("callfold: {} {}", invented.len(), invented.join(", "));
    println!(
        "plain, greedy: {} {}",
        invented_plain.len(),
        invented_plain.join(", ")
    );
}

/// A recording of so many hours, made of the long call again and again.
fn write_long(hours: f64, ending: &str, folder: &Path) -> PathBuf {
    let path = folder.join(format!("long.{ending}"));
    let source = assets().join("samples/long-call.mp3");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let pcm = decode(&source, &LIMITS).unwrap();
    let times = (hours * 3_600_000.0 / pcm.duration_ms() as f64).round().max(1.0) as usize;
    if ending == "mp3" {
        let bytes = std::fs::read(&source).unwrap();
        for _ in 0..times {
            file.write_all(&bytes).unwrap();
        }
    } else {
        let samples: Vec<u8> = pcm.channels[0]
            .iter()
            .flat_map(|sample| ((sample * 32_767.0).round() as i16).to_le_bytes())
            .collect();
        let length = (samples.len() * times) as u32;
        file.write_all(b"RIFF").unwrap();
        file.write_all(&(length + 36).to_le_bytes()).unwrap();
        file.write_all(b"WAVEfmt ").unwrap();
        for number in [
            16,
            0x0001_0001,
            pcm.sample_rate_hz,
            pcm.sample_rate_hz * 2,
            0x0010_0002,
        ] {
            file.write_all(&number.to_le_bytes()).unwrap();
        }
        file.write_all(b"data").unwrap();
        file.write_all(&length.to_le_bytes()).unwrap();
        for _ in 0..times {
            file.write_all(&samples).unwrap();
        }
    }
    file.flush().unwrap();
    path
}

/// A line of /proc/self/status in MB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kb: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kb / 1024
}

/// In a process of its own, whose peak is this recording's.
fn long(path: &Path, options: WhisperOptions, runtime: &tokio::runtime::Runtime) {
    let engine = Whisper::new(ModelSource::Demo, options);
    runtime.block_on(engine.prepare()).unwrap();
    let before = memory("VmRSS");
    let begun = Instant::now();
    let audio = Audio16k::decode(
        std::fs::File::open(path).unwrap(),
        &LIMITS,
        path.parent().unwrap(),
    )
    .unwrap();
    let (decoded, after_decoding) = (begun.elapsed().as_secs_f64(), memory("VmHWM"));
    let audio = Arc::new(audio);
    let heard = runtime
        .block_on(engine.transcribe(Request::new(Arc::clone(&audio))))
        .unwrap();
    let times = audio.duration_ms() / sample("long-call.mp3").duration_ms();
    let said = vec![reference("long-call.txt"); times as usize].join(" ");
    let secs = begun.elapsed().as_secs_f64();
    println!(
        "{:12} {:5.0} s of audio, {} pieces: {before} MB with the model, {after_decoding} MB at most after decoding \
         ({decoded:.1} s), {} MB at most at the end; real-time factor {:.3}, word errors {:.2} %",
        path.file_name().unwrap().to_string_lossy(),
        audio.duration_ms() as f64 / 1000.0,
        heard.pieces,
        memory("VmHWM"),
        secs * 1000.0 / audio.duration_ms() as f64,
        100.0 * word_error_rate(&said, &heard.text()).rate(),
    );
}

fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}

fn main() {
    // As the program does.
    callfold_kit::memory::give_back_large_blocks();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = WhisperOptions::default();
    if let Some(path) = argument("--long") {
        return long(Path::new(&path), options, &runtime);
    }
    let hours: f64 = argument("--hours").map_or(2.0, |hours| hours.parse().unwrap());
    let runs: usize = argument("--runs").map_or(3, |runs| runs.parse().unwrap());
    println!(
        "{} workers of {} threads, {SAMPLE_RATE_HZ} Hz",
        options.workers, options.threads
    );
    let engine = Whisper::new(ModelSource::Demo, options.clone());
    runtime.block_on(engine.prepare()).unwrap();
    whisper_rs::install_logging_hooks();
    let plain = Plain {
        context: WhisperContext::new_with_params(
            assets().join("ggml-micro-he.bin"),
            WhisperContextParameters::default(),
        )
        .unwrap(),
        threads: options.threads.get() as i32,
    };
    compare(&engine, &plain, runs.max(1), &runtime);
    no_speech(&engine, &plain, &runtime);
    if hours > 0.0 {
        println!("\nmemory of a long recording");
        let folder = std::env::temp_dir().join(format!("callfold-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for ending in ["mp3", "wav"] {
            let path = write_long(hours, ending, &folder);
            let status = Command::new(std::env::current_exe().unwrap())
                .arg("--long")
                .arg(&path)
                .status();
            std::fs::remove_file(&path).unwrap();
            assert!(status.unwrap().success());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
