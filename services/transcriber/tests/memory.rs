//! Memory does not grow with the length of a recording: what is allocated is counted while recordings of different
//! lengths are decoded, resampled, kept and cut into pieces. (What whisper.cpp itself takes is one state a worker; the
//! peak of a whole recognition is measured by `make bench-whisper`.)

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Cursor;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callfold_transcriber::audio::{Audio16k, LIMITS};
use callfold_transcriber::speech;

struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator that counts is an unsafe trait")]
// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(used, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes allocated at most while a recording of so many copies of the long call (3 min each) is made ready, and the
/// number of its pieces.
fn peak(copies: usize) -> (usize, usize) {
    let call = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/samples/long-call.mp3");
    let bytes = std::fs::read(call).unwrap().repeat(copies);
    let folder = tempfile::tempdir().unwrap();
    let before = USED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let audio = Audio16k::decode(Cursor::new(&bytes), &LIMITS, folder.path()).unwrap();
    let pieces = speech::pieces(&audio, Duration::from_secs(28)).unwrap();
    for piece in &pieces {
        let samples = audio.read(piece.channel, piece.frames.clone()).unwrap();
        assert!(samples.len() <= 28 * 16_000);
    }
    (PEAK.load(Ordering::Relaxed) - before, pieces.len())
}

#[test]
fn a_longer_recording_takes_no_more_memory() {
    let (short, few) = peak(2);
    let (long, many) = peak(14);
    println!("{short} bytes for {few} pieces, {long} bytes for {many}");
    assert!(many > 6 * few);
    // 4 MiB of samples (twice that while the vector grows) until they go into a file; a piece; blocks.
    assert!(short < 16 << 20, "{short}");
    // 36 min more. As samples they are 140 MB, what is kept of their sound is 8 bytes each 16 ms.
    assert!(long < short + (4 << 20), "{long}");
}
