//! Whose turn it is: pieces of several recordings in one line.

use callfold_schema::Lane;

/// A job in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JobId(u64);

/// Pieces that wait for a worker. The next one belongs to a new call before a re-run; then to the job of which the
/// fewest pieces have been taken; then to the oldest. So a recording that comes while a long one is worked on waits for
/// one piece of it and not for all.
#[derive(Debug)]
pub(super) struct Queue<J> {
    /// In the order in which they came. Only jobs of which a piece is left; bounded by the stage's slots.
    jobs: Vec<Waiting<J>>,
    next_id: u64,
}

#[derive(Debug)]
struct Waiting<J> {
    id: JobId,
    job: J,
    lane: Lane,
    /// Pieces taken; the number of the next one.
    served: usize,
    pieces: usize,
}

#[cfg(test)]
impl JobId {
    /// The how manyth it was, from 0.
    pub(super) fn number(self) -> usize {
        self.0 as usize
    }
}

impl<J> Default for Queue<J> {
    fn default() -> Self {
        Self {
            jobs: Vec::new(),
            next_id: 0,
        }
    }
}

impl<J: Clone> Queue<J> {
    /// Adds a job of so many pieces.
    pub(super) fn push(&mut self, job: J, lane: Lane, pieces: usize) -> JobId {
        let id = JobId(self.next_id);
        self.next_id += 1;
        if pieces > 0 {
            self.jobs.push(Waiting {
                id,
                job,
                lane,
                served: 0,
                pieces,
            });
        }
        id
    }

    /// Takes the next piece: its job and its number there.
    pub(super) fn take(&mut self) -> Option<(J, usize)> {
        // Of several equal ones `min_by_key` finds the first, which is the oldest.
        let (at, _) = self
            .jobs
            .iter()
            .enumerate()
            .min_by_key(|(_, waiting)| (waiting.lane == Lane::Again, waiting.served))?;
        let waiting = &mut self.jobs[at];
        let piece = waiting.served;
        waiting.served += 1;
        let job = waiting.job.clone();
        if waiting.served == waiting.pieces {
            self.jobs.remove(at);
        }
        Some((job, piece))
    }

    /// Drops what is left of a job.
    pub(super) fn remove(&mut self, id: JobId) {
        self.jobs.retain(|waiting| waiting.id != id);
    }

    /// How many pieces wait.
    pub(super) fn pieces(&self) -> usize {
        self.jobs
            .iter()
            .map(|waiting| waiting.pieces - waiting.served)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &mut Queue<char>, count: usize) -> String {
        (0..count)
            .filter_map(|_| queue.take())
            .map(|(job, piece)| format!("{job}{piece} "))
            .collect()
    }

    #[test]
    fn a_recording_that_comes_later_waits_for_one_piece_only() {
        let mut queue = Queue::default();
        queue.push('a', Lane::New, 5);
        assert_eq!(taken(&mut queue, 2), "a0 a1 ");
        queue.push('b', Lane::New, 1);
        queue.push('c', Lane::New, 3);
        // The others catch up, then they take turns, the oldest first.
        assert_eq!(taken(&mut queue, 9), "b0 c0 c1 a2 c2 a3 a4 ");
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn re_runs_wait_for_new_calls() {
        let mut queue = Queue::default();
        queue.push('a', Lane::Again, 3);
        assert_eq!(taken(&mut queue, 1), "a0 ");
        queue.push('b', Lane::New, 3);
        assert_eq!(taken(&mut queue, 4), "b0 b1 b2 a1 ");
    }

    #[test]
    fn what_is_left_of_a_job_can_be_dropped() {
        let mut queue = Queue::default();
        let a = queue.push('a', Lane::New, 3);
        let none = queue.push('n', Lane::New, 0);
        queue.push('b', Lane::New, 2);
        assert_eq!(queue.pieces(), 5);
        assert_eq!(taken(&mut queue, 1), "a0 ");
        queue.remove(a);
        queue.remove(a);
        queue.remove(none);
        assert_eq!((queue.pieces(), taken(&mut queue, 9)), (2, "b0 b1 ".to_owned()));
    }
}
