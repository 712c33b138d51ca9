//! How loud a recording is along its way: what its waveform is drawn from. Computed from the stored audio, once.

use std::collections::{HashMap, VecDeque};
use std::io::{Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callfold_kit::audio::{AudioError, Format, Limits, decode_frames};
use callfold_kit::blob::{BlobError, Blobs};
use tokio::sync::Semaphore;

use crate::error::ApiError;

/// Most values of a waveform; a shorter recording has as many as it has windows.
const PEAKS_MAX: usize = 200;
/// The highest value.
const PEAK_MAX: f32 = 100.0;
/// How long a window is that one value is taken of at first, in milliseconds.
const WINDOW_MS: u32 = 20;
/// What is quieter than this all along is shown as quiet, and not blown up to look like speech.
const LOUD_MIN: f32 = 0.02;
/// The largest file a waveform is drawn for, in bytes: an hour of Twilio's WAV and more.
const BYTES_MAX: u64 = 64 << 20;
/// The longest recording a waveform is drawn for.
const DURATION_MAX: Duration = Duration::from_secs(4 * 3600);
/// How many recordings are decoded at once: people look at one card at a time, and the stages need the processor more.
const AT_ONCE: usize = 1;
/// How long a request waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(20);
/// How many waveforms are kept, at 200 bytes each.
const KEPT_MAX: usize = 1024;

/// Said when there is a recording and no waveform for it.
const NO_WAVEFORM: &str = "There is no waveform of this recording.";

/// Makes waveforms and keeps the last ones.
pub(crate) struct Peaks {
    turns: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_key: HashMap<String, Arc<[u8]>>,
    /// The oldest first.
    order: VecDeque<String>,
}

impl Default for Peaks {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            kept: Mutex::default(),
        }
    }
}

impl Peaks {
    /// At most [`PEAKS_MAX`] values from 0 to 100, the start of the recording first. A key is written once, so what is
    /// kept of it stays true.
    pub(crate) async fn of(&self, blobs: &Blobs, key: &str) -> Result<Arc<[u8]>, ApiError> {
        if let Some(peaks) = self.kept(key) {
            return Ok(peaks);
        }
        let turn = tokio::time::timeout(TURN_WAIT, Arc::clone(&self.turns).acquire_owned());
        let turn = match turn.await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) | Err(_) => return Err(ApiError::Busy),
        };
        // Whoever was before us may have wanted the same.
        if let Some(peaks) = self.kept(key) {
            return Ok(peaks);
        }
        let read = |error: std::io::Error| ApiError::Recording(BlobError::Read(Box::new(error)));
        let file = tokio::task::spawn_blocking(tempfile::tempfile)
            .await
            .map_err(|_| ApiError::Panicked)?
            .map_err(read)?;
        let mut file = tokio::fs::File::from_std(file);
        match blobs.get_to(key, &mut file, BYTES_MAX).await {
            Ok(true) => {}
            Ok(false) | Err(BlobError::TooLarge { .. }) => return Err(ApiError::NotFound(NO_WAVEFORM)),
            Err(error) => return Err(ApiError::Recording(error)),
        }
        let mut file = file.into_std().await;
        let decoded = tokio::task::spawn_blocking(move || {
            // Held to the end: who hung up meanwhile does not let a second one begin.
            let _turn = turn;
            file.seek(SeekFrom::Start(0)).map_err(AudioError::Io)?;
            let limits = Limits {
                max_duration: DURATION_MAX,
                ..Limits::default()
            };
            let mut windows = Windows::default();
            decode_frames(file, &limits, |format, block| {
                windows.take(format, block);
                Ok::<(), AudioError>(())
            })?;
            Ok(reduced(&windows.loudest()))
        });
        match decoded.await.map_err(|_| ApiError::Panicked)? {
            Ok(peaks) => {
                let peaks: Arc<[u8]> = peaks.into();
                self.keep(key, Arc::clone(&peaks));
                Ok(peaks)
            }
            Err(AudioError::Io(error)) => Err(read(error)),
            Err(error) => {
                tracing::debug!(error = %error, "a recording has no waveform");
                Err(ApiError::NotFound(NO_WAVEFORM))
            }
        }
    }

    fn kept(&self, key: &str) -> Option<Arc<[u8]>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.by_key.get(key).cloned()
    }

    fn keep(&self, key: &str, peaks: Arc<[u8]>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.by_key.insert(key.to_owned(), peaks).is_none() {
            kept.order.push_back(key.to_owned());
        }
        while kept.order.len() > KEPT_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_key.remove(&oldest);
        }
    }
}

/// The loudest sample of each window, all channels together.
#[derive(Default)]
struct Windows {
    done: Vec<f32>,
    loudest: f32,
    frames: u32,
}

impl Windows {
    fn take(&mut self, format: Format, block: &[&[f32]]) {
        let window = (format.sample_rate_hz / (1000 / WINDOW_MS)).max(1);
        let frames = block.first().map_or(0, |channel| channel.len());
        for n in 0..frames {
            for channel in block {
                let loud = channel.get(n).map_or(0.0, |sample| sample.abs());
                // A sample that is no number is not loud.
                if loud > self.loudest {
                    self.loudest = loud;
                }
            }
            self.frames += 1;
            if self.frames == window {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        self.done.push(self.loudest);
        (self.loudest, self.frames) = (0.0, 0);
    }

    fn loudest(mut self) -> Vec<f32> {
        if self.frames > 0 {
            self.close();
        }
        self.done
    }
}

/// As many values as are drawn: the mean of the windows that fall on each, so that speech has a shape and one crack does
/// not fill it; the loudest is the highest.
fn reduced(windows: &[f32]) -> Vec<u8> {
    let count = windows.len().min(PEAKS_MAX);
    let means: Vec<f32> = (0..count)
        .map(|n| {
            let part = &windows[n * windows.len() / count..(n + 1) * windows.len() / count];
            part.iter().sum::<f32>() / part.len().max(1) as f32
        })
        .collect();
    let top = means.iter().copied().fold(LOUD_MIN, f32::max);
    means
        .into_iter()
        .map(|mean| {
            let value = (mean / top * PEAK_MAX).round().clamp(0.0, PEAK_MAX);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to 0..=100 above"
            )]
            let value = value as u8;
            value
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waveform_has_few_values_and_its_loudest_is_the_highest() {
        assert!(reduced(&[]).is_empty());
        assert_eq!(reduced(&[0.5, 0.25, 0.0]), [100, 50, 0]);
        let long: Vec<f32> = (0..12_345_u16).map(|n| f32::from(n % 100) / 100.0).collect();
        let peaks = reduced(&long);
        assert_eq!(peaks.len(), PEAKS_MAX);
        assert_eq!(peaks.iter().max(), Some(&100));
        // A line that hums is not made to look like speech.
        assert!(reduced(&[0.001; 500]).iter().all(|peak| *peak <= 5));
    }

    #[test]
    fn windows_are_closed_by_time_and_the_last_one_may_be_short() {
        let format = Format {
            sample_rate_hz: 8_000,
            channels: 2,
        };
        let mut windows = Windows::default();
        let (left, right) = ([0.1_f32; 200], [-0.4_f32; 200]);
        windows.take(format, &[&left, &right]);
        assert_eq!(windows.loudest(), [0.4, 0.4]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let peaks = Peaks::default();
        for n in 0..KEPT_MAX + 10 {
            peaks.keep(&format!("key-{n}"), Arc::from([1_u8].as_slice()));
        }
        assert!(peaks.kept("key-0").is_none());
        assert!(peaks.kept(&format!("key-{}", KEPT_MAX + 9)).is_some());
        assert_eq!(
            peaks
                .kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .by_key
                .len(),
            KEPT_MAX
        );
    }
}
