//! How memory that was used once is given back.

/// Blocks from this size on go back to the system when they are freed, in bytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const GIVEN_BACK_FROM: libc::c_int = 1 << 20;

/// Lets large blocks go back to the system as soon as they are freed. To be called once, before threads are started.
///
/// The GNU C library begins so, and then learns from every large block that is freed to keep larger ones, up to 32 MB, in
/// the heaps of its many threads, whose ends are hardly ever free. whisper.cpp takes and frees such blocks for every
/// piece: two hours of audio then held 2 GB where 0.1 GB are in use.
pub fn give_back_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library's own setting")]
    // SAFETY: sets a number of the allocator, before others use it.
    let done = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, GIVEN_BACK_FROM) };
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if done == 0 {
        tracing::debug!("the C library does not take a bound for the blocks that it keeps");
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

    /// Resident memory in bytes.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let kb: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kb << 10
    }

    /// 28 MB, freed behind a small block that stays: as threads leave it that compute and remember.
    fn leave_a_gap() -> Vec<u8> {
        let large = vec![1_u8; 28 << 20];
        let small = vec![1_u8; 4 << 10];
        assert_eq!(large[large.len() / 2], 1);
        drop(large);
        small
    }

    #[test]
    fn what_was_freed_is_given_back() {
        super::give_back_large_blocks();
        // Teaches an allocator that learns.
        drop(leave_a_gap());
        let before = resident();
        let kept: Vec<Vec<u8>> = (0..10)
            .map(|_| std::thread::spawn(leave_a_gap).join().unwrap())
            .collect();
        let grown = resident().saturating_sub(before);
        assert_eq!(kept.len(), 10);
        assert!(grown < 100 << 20, "{grown} bytes more than before");
    }
}
